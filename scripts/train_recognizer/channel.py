"""What happens to speech between mouth and recognizer: rooms, lines, codecs, noise, other talkers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, signal

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Wave = NDArray[np.float32]

RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to the recognizer.

    `telephone` limits the band to about 300–3400 Hz and codes by G.711; `snr_db` is speech over noise;
    `reverb_s` the time in which the room's echo fades by 60 dB; `crosstalk_db` how much louder speech is than another
    talker.
    """

    telephone: bool = False
    snr_db: float | None = None
    reverb_s: float | None = None
    crosstalk_db: float | None = None

    @classmethod
    def draw(cls, rs: Generator) -> Channel:
        """Draw a channel as training meets them: a sixth clean, half on the telephone, the rest noisy or in a room."""
        kind = rs.random()
        if kind < 0.16:
            return cls()
        if kind < 0.34:
            return cls(snr_db=rs.uniform(22, 45))
        crosstalk = rs.uniform(12, 25) if rs.random() < 0.08 else None
        if kind < 0.80:
            return cls(
                telephone=True,
                snr_db=rs.uniform(8, 32),
                crosstalk_db=crosstalk,
                reverb_s=rs.uniform(0.08, 0.3) if rs.random() < 0.15 else None,
            )
        return cls(
            snr_db=rs.uniform(8, 30),
            reverb_s=rs.uniform(0.08, 0.45) if rs.random() < 0.6 else None,
            crosstalk_db=crosstalk,
        )


def to_16k(samples: NDArray[np.int16], rate_hz: int) -> Wave:
    """Return 16-bit samples as float32 at 16 kHz."""
    if rate_hz == 22_050:
        return signal.resample_poly(samples.astype(np.float32) / 32768, 320, 441).astype(np.float32)
    return signal.resample_poly(samples.astype(np.float32) / 32768, RATE_HZ, rate_hz).astype(np.float32)


def coloured(n: int, rs: Generator) -> Wave:
    """Return noise of unit power: white, pink, brown, speech-shaped, or with the hum of the mains."""
    white = rs.standard_normal(n).astype(np.float32)
    kind = rs.random()
    if kind < 0.35:
        return white
    size = fft.next_fast_len(n, real=True)
    spectrum = fft.rfft(white, size)
    f = np.linspace(20, RATE_HZ / 2, len(spectrum), dtype=np.float32)
    slope = -0.5 if kind < 0.6 else -1.0
    spectrum *= f**slope if kind < 0.8 else 1 / (1 + (f / 500) ** 2)
    noise = fft.irfft(spectrum, size)[:n].astype(np.float32)
    noise /= noise.std() + 1e-9
    if kind > 0.9:
        t = np.arange(n, dtype=np.float32) / RATE_HZ
        noise += sum(a * np.sin(2 * np.pi * 50 * k * t) for k, a in ((1, 0.7), (2, 0.4), (3, 0.3)))
    return (noise / (noise.std() + 1e-9)).astype(np.float32)


def g711(x: Wave, rs: Generator) -> Wave:
    """Code and decode by µ-law or A-law with 8 bits, full scale at 1 (ITU-T G.711)."""
    x = np.clip(x, -1, 1)
    size = np.abs(x)
    if rs.random() < 0.5:
        code = np.round(np.log1p(255 * size) / np.log(256) * 127) / 127
        return (np.sign(x) * (256**code - 1) / 255).astype(np.float32)
    a = 87.6
    low = size < 1 / a
    code = np.where(low, a * size, 1 + np.log(np.maximum(a * size, 1e-9))) / (1 + np.log(a))
    code = np.round(code * 127) / 127
    back = np.where(code < 1 / (1 + np.log(a)), code * (1 + np.log(a)) / a, np.exp(code * (1 + np.log(a)) - 1) / a)
    return (np.sign(x) * back).astype(np.float32)


class Line:
    """Carries utterances over channels; remembers some of them as the other talkers of a busy room."""

    def __init__(self, rs: Generator) -> None:
        self._rs = rs
        self._talkers: list[Wave] = []

    def carry(
        self,
        speech: Wave,
        channel: Channel,
        *,
        lead_s: float | None = None,
        trail_s: float | None = None,
        peak: float | None = None,
    ) -> Wave:
        """Return samples of shape (n,) at 16 kHz: silence, speech, silence, over the channel, at a drawn level.

        `lead_s` and `trail_s` of silence are drawn from 0.05 to 0.4 s, `peak` from 0.08 to 0.9 where not given.
        """
        rs = self._rs
        lead = rs.uniform(0.05, 0.4) if lead_s is None else lead_s
        trail = rs.uniform(0.05, 0.4) if trail_s is None else trail_s
        x = np.pad(speech, (int(lead * RATE_HZ), int(trail * RATE_HZ)))
        x = self._shape(x, channel)
        rms = float(np.sqrt(np.mean(x**2))) + 1e-6
        self._remember(x / rms)
        if channel.crosstalk_db is not None:
            x += self._other(len(x)) * (rms * 10 ** (-channel.crosstalk_db / 20))
        if channel.snr_db is not None:
            babble = rs.random() < 0.12
            noise = (
                sum((self._other(len(x)) for _ in range(3)), np.zeros(len(x), np.float32)) / 1.7
                if babble
                else coloured(len(x), rs)
            )
            x += noise * (rms * 10 ** (-max(channel.snr_db, 10 if babble else 0) / 20))
        if channel.telephone:
            x = self._telephone(x)
        level = 10 ** rs.uniform(-1.05, 0) * 0.9 if peak is None else peak
        return (x * (level / (np.abs(x).max() + 1e-6))).astype(np.float32)

    def _shape(self, x: Wave, channel: Channel) -> Wave:
        rs = self._rs
        n = fft.next_fast_len(len(x) + int((channel.reverb_s or 0) * RATE_HZ), real=True)
        spectrum = fft.rfft(x, n)
        f = np.linspace(0, RATE_HZ / 2, len(spectrum), dtype=np.float32)
        if rs.random() < 0.5:
            spectrum *= 10 ** (rs.uniform(-6, 6) / 20 * (f - 2000) / 4000)
        if channel.telephone:
            low, high = rs.uniform(100, 350), rs.uniform(3100, 3900)
            spectrum *= 1 / (1 + np.exp(-(f - low) / 40)) / (1 + np.exp(np.minimum((f - high) / 80, 50)))
        if channel.reverb_s:
            t = max(2, int(channel.reverb_s * RATE_HZ))
            echo = (rs.standard_normal(t) * np.exp(-6.9 * np.arange(t) / t) * rs.uniform(0.05, 0.25)).astype(np.float32)
            echo[0] = 1
            spectrum *= fft.rfft(echo, n)
        shaped: Wave = fft.irfft(spectrum, n)[: len(x)].astype(np.float32)
        return shaped

    def _telephone(self, x: Wave) -> Wave:
        """Sample at 8 kHz and code, or leave the noise wide, as where a sound card picks up a telephone."""
        rs = self._rs
        kind = rs.random()
        if kind < 0.2:
            return x
        narrow = signal.resample_poly(x, 1, 2).astype(np.float32)
        if rs.random() < 0.8:
            scale = rs.uniform(0.05, 0.95) / (np.abs(narrow).max() + 1e-6)
            narrow = g711(narrow * scale, rs) / np.float32(scale)
        wide = signal.resample_poly(narrow, 2, 1).astype(np.float32)
        return wide[: len(x)] if len(wide) >= len(x) else np.pad(wide, (0, len(x) - len(wide)))

    def _remember(self, speech: Wave) -> None:
        if len(self._talkers) < 30 or self._rs.random() < 0.03:
            self._talkers.append(speech)
            del self._talkers[:-50]

    def _other(self, n: int) -> Wave:
        talker = self._talkers[self._rs.integers(len(self._talkers))]
        return np.resize(np.roll(talker, self._rs.integers(len(talker))), n)
