"""The shipped signals: what moves the life of a node, said in many ways, and what only sounds like it."""

from __future__ import annotations

import pytest

from edge_agent.nodes import Rules
from edge_agent.nodes.match import Context
from edge_agent.types import Speaker
from tests.conftest import TOP

OFFER = "我给您做到八折，写进合同。"

# signal: (who, the other party's last turn, sentences that give the signal, sentences that do not)
SAID: dict[str, tuple[Speaker, str, str, str]] = {
    "accept": (
        Speaker.CUSTOMER,
        OFFER,
        (
            "行吧，这价我认了。|那还差不多。|你这么一说我心里就有底了。|得，就冲你这句话，先来五十套。|有这句话就行。|这个我能跟老板交差了。|"
            "那我没什么好挑的了。|成，你把协议发我。|讲得通。|那价格这块我不跟你磨了。|这个方案可行。|原来是这样，那是我误会了。|"
            "写五年保修，我没二话。|九十天我能接受。|好啊，那周三见。|可以，那你周五过来。|那就依你说的。"
        ),
        (
            "你说得好听。|可以是可以，就是贵。|行不行还得看老板。|你让我怎么放心。|好，我知道了，考虑考虑。|行了你别说了。|"
            "可以啊，你先降五个点再说。|好，那就这样，再见。|嗯。|行，再说吧。|这样不行。|这价我没法接受。|你觉得这样合适吗？|能接受才怪。"
        ),
    ),
    "defer": (
        Speaker.CUSTOMER,
        "您看呢？",
        (
            "下礼拜五之前我给你个答复。|等我们月底盘完账再定。|十五号老板出差回来我问他。|董事会二十号开，开完告诉你。|"
            "我把方案转给王科，他周五给你答复。|等老板下周三回来再说。"
        ),
        "改天再聊。|回头再说。|以后有机会吧。|你下周三过来。|礼拜四到货。|等你消息。",
    ),
    "wait": (
        Speaker.CUSTOMER,
        OFFER,
        "还是等明年的盘子吧。|下半年的预算下来再说。|得列进明年的计划。",
        "明年我们还找你。|等你消息。",
    ),
    "decide": (
        Speaker.CUSTOMER,
        OFFER,
        "这事我说了算。|我自己就能签。|十万以下我批。|不用上会，我签字就行。|老板昨天点头了。|我跟老公商量过了，他同意。",
        "我说了不算。|要是我能定就好了。|我自己拍不了板。|谁能定？",
    ),
    "step": (
        Speaker.AGENT,
        "嗯。",
        (
            "那我明天上午十点带样机过去。|后天我让小刘上门量尺寸。|那就下周一，我到您店里。|月底前我把对账单给您。|您周五前给我个准信。|"
            "您二十号之前把章盖好寄回来。|周六带孩子来试听，行吗？|让小王明天跟您对接。"
        ),
        "我回头发您。|有需要您联系我。|我们去年六月份给您送过样。|质保期两年。|改天我去拜访您。|上周三给您发的报价收到没有？",
    ),
    "refuse": (
        Speaker.CUSTOMER,
        "我明天过去。",
        "不用了。|别来了，来了也白来。|明天不行，我出差。|不用麻烦了。|真不需要。|没这个必要。",
        "行，来吧。|不用问领导。|不用客气，你来。|好的。",
    ),
    "discovery": (
        Speaker.AGENT,
        "嗯。",
        (
            "您这边仓库有多大面积？|现在用的哪家的系统？|一个月大概发多少票？|贵公司报销是怎么走的？|您最担心哪方面？|预算大概在什么范围？|"
            "这个事儿最后谁拍板？|多久补一次货？|这批货做什么用？|打算什么时候入住？"
        ),
        "您贵姓？|方便说话吗？|您看可以吗？|怎么了？|您别生气好吗？",
    ),
    "notice": (
        Speaker.AGENT,
        "",
        "为了服务质量，本次通话会被录音。|咱这电话录着呢。|先跟您讲，咱们说的话都录下来的。|通话内容会被记录。|老规矩，通话录音哈。",
        "您别录音。|我没录音。|我们不录音的。",
    ),
    "answer": (
        Speaker.AGENT,
        "太贵了。",
        (
            "您看的是裸价，我们含安装和三年保养。|我去跟经理申请一下，给您个书面答复。|咱们可以先上基础版，费用少一半。|"
            "第三方检测报告我发您一份。|先用后付，满意再给钱。|贵是贵点，但是寿命长一倍。"
        ),
        "哦。|是吗？|那您大概什么时候能定？|您再考虑考虑。|您贵姓？|那不打扰了。",
    ),
}


@pytest.fixture(scope="module")
def rules() -> Rules:
    return Rules.load([TOP / "dictionaries" / "common" / "conversation.yaml"])


@pytest.mark.parametrize("signal", SAID)
def test_a_signal_is_heard_where_it_is_given_and_nowhere_else(rules: Rules, signal: str) -> None:
    who, before, given, not_given = SAID[signal]

    def heard(text: str) -> bool:
        hits = rules.matcher.hits(text, who, Context(before))
        return any(hit.raises == signal for hit in hits)

    assert [text for text in given.split("|") if not heard(text)] == []
    assert [text for text in not_given.split("|") if heard(text)] == []


def test_a_short_yes_to_a_farewell_accepts_nothing(rules: Rules) -> None:
    for before, accepts in ((OFFER, True), ("那您先考虑，我过阵子再打给您。", False)):
        hits = rules.matcher.hits("好。", Speaker.CUSTOMER, Context(before))
        assert any(hit.raises == "accept" for hit in hits) == accepts
