"""Cut what is heard into utterances: a `Segmenter` for each call, told by `EndpointSettings` what counts as one."""

from edge_agent.vad.endpoint import EndpointSettings
from edge_agent.vad.segmenter import Segmenter

__all__ = ["EndpointSettings", "Segmenter"]
