"""The kinds of node: what can be noticed in a call, who must say it, and how grave it is.

Ids are stable: they stand in rule files, in databases and on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from edge_agent.types import Speaker


class Family(StrEnum):
    """The first part of a node's id."""

    OBJECTION = "objection"
    COMPLIANCE = "compliance"
    OPPORTUNITY = "opportunity"
    RISK = "risk"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of node. `speaker` is who must say it; None where either may, or where something was not said."""

    id: str
    name: str
    speaker: Speaker | None
    severity: str

    @property
    def family(self) -> Family:
        """The first part of the id."""
        return Family(self.id.partition(".")[0])


_AGENT, _CUSTOMER = Speaker.AGENT, Speaker.CUSTOMER

CATALOGUE: dict[str, Kind] = {
    kind.id: kind
    for kind in (
        Kind("objection.price", "价格异议", _CUSTOMER, "warning"),
        Kind("objection.competitor", "竞品替代", _CUSTOMER, "warning"),
        Kind("objection.budget", "预算不足", _CUSTOMER, "warning"),
        Kind("objection.authority", "决策权推托", _CUSTOMER, "warning"),
        Kind("objection.timing", "时机拖延", _CUSTOMER, "warning"),
        Kind("objection.need", "需求质疑", _CUSTOMER, "warning"),
        Kind("objection.quality", "质量疑虑", _CUSTOMER, "warning"),
        Kind("objection.supply", "供货顾虑", _CUSTOMER, "warning"),
        Kind("objection.terms", "账期异议", _CUSTOMER, "warning"),
        Kind("compliance.rebate", "承诺返点", _AGENT, "alarm"),
        Kind("compliance.false_stock", "虚构库存", _AGENT, "alarm"),
        Kind("compliance.exaggeration", "夸大承诺", _AGENT, "alarm"),
        Kind("compliance.disparagement", "贬低竞品", _AGENT, "alarm"),
        Kind("compliance.unauthorized_commitment", "越权承诺", _AGENT, "alarm"),
        Kind("compliance.improper_benefit", "利益输送", _AGENT, "alarm"),
        Kind("compliance.off_book", "飞单私下交易", _AGENT, "alarm"),
        Kind("compliance.data_leak", "泄露数据", None, "alarm"),
        Kind("compliance.abuse", "不文明用语", _AGENT, "alarm"),
        Kind("opportunity.quote_request", "询价", _CUSTOMER, "info"),
        Kind("opportunity.sample_request", "样品试用", _CUSTOMER, "info"),
        Kind("opportunity.purchase_signal", "购买信号", _CUSTOMER, "info"),
        Kind("opportunity.expansion", "增购续约", _CUSTOMER, "info"),
        Kind("opportunity.tender", "招标与预算释放", _CUSTOMER, "info"),
        Kind("opportunity.contact_change", "采购负责人变更", _CUSTOMER, "info"),
        Kind("opportunity.technical_question", "技术答疑", _CUSTOMER, "info"),
        Kind("risk.churn", "流失风险", _CUSTOMER, "alarm"),
        Kind("process.recording_notice_missing", "录音告知缺失", None, "warning"),
        Kind("process.next_step_missing", "未约定下一步", None, "info"),
        Kind("process.discovery_missing", "需求未探询", None, "info"),
    )
}

# What carries no node by itself but moves the life of one: rules may raise these as well.
SIGNALS: dict[str, str] = {
    "answer": "客服实质回应",
    "accept": "客户接受",
    "refuse": "拒绝",
    "defer": "客户推到某时或某人",
    "wait": "客户等下一期的钱",
    "decide": "客户自己能定",
    "step": "约定下一步",
    "notice": "录音告知",
    "discovery": "需求探询",
    "quote": "报出价格或发出报价单",
}
