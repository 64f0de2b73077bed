"""Guards: reasons why words that stand in a text do not mean what they say.

A guard looks at one sentence and the place of a match in it. Rules name the guards they obey under `unless`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from edge_agent.nodes.phrase import CLAUSE_ENDS

Guard = Callable[[str, int, int], bool]

# Words that hold a negator's character and deny nothing.
_INNOCENT = re.compile(
    r"不但|不仅|不光|不过|不管|不如|不然|不错|不好意思|不瞒|不得不|不就|不断|不只|不愧|要不|差不多|动不动|对不起|说不定|"
    r"不行(?=我|咱|就|的话)|不用(担心|操心|着急|多想)|没准|没问题|没事|没错|别的|别人|别家|特别|分别|个别|级别|识别|无论|无非|非常|除非|"
    r"(是|能|有|要|会|行|可|好)(不|没)(是|能|有|要|会|行|可以|好)"
)
_NEGATOR = re.compile(
    r"不|没|别|无|未|莫|甭|哪(有|能|会|敢|来)|谁(敢|还|会)|怎么(能|敢|会|可能)|禁止|严禁|杜绝|拒绝|谈不上|免"
)
_DENIED_AFTER = re.compile(
    r"^.{0,5}?(没有|不行|不可能|别提|甭提|免谈|不做|不搞|不给|不能|不会|不许|不允许|不存在|没门|取消|红线|违规|违法|犯法|"
    r"免了|不合规|做不了|给不了|不敢|一律不|绝对不)"
)
_TAG = re.compile(
    r"(行|好|可以|成|对|是|怎么样|如何|您看|你看|够)(吗|么|吧|不|呢)?[？?]?$|(行不行|好不好|可不可以|成不成|够不够|怎么样)[？?]?$"
)
_ASKS = re.compile(r"(吗|么|嘛|没有|呢|不|没)?[？?]$|(吗|么|没有)$")
_ASKS_INSIDE = re.compile(
    r"有没有|能不能|是不是|会不会|可不可以|要不要|(.)不\1|(.)没\2|多少|什么|哪|怎么|几个(点|折)|为啥|凭什么"
)
_OTHERS = re.compile(
    r"人家|他们|他家|她们|那家|这家|哪家|别家|另一家|上家|隔壁|同行|有家|有一家|有个|有些|某|别人|朋友|同事|同学|亲戚|"
    r"供应商|外面|外头|听说|听人|据说|传|网上|新闻|楼下|旁边|对门|邻居"
)
_REPORTS = re.compile(
    r"(你们?|您|他们?|她|有人|人家|朋友|同事|客户|供应商|那家|家|老板|领导|方)[^，。！？]{0,6}(说|讲|问|打听|提|吹|承诺|答应|号称|告诉|喊)"
    r"|听(说|人|讲)|据说|刚才说|所谓"
)
_PAST = re.compile(
    r"以前|之前|从前|去年|前年|大前年|上次|上回|上一次|当年|当时|那会儿|那时候|那次|原来|原先|曾经|早年|早先|前些年|过去|上家|前阵子|头两年"
)
_IF = re.compile(r"如果|要是|假如|万一|倘若|若是|除非|就算|哪怕|即使|的话")
_CONTENT = re.compile(
    r"不(贵|高|担心|愁|怕|差|错|影响|嫌|缺)|没(毛病|得说|得挑|话说|意见|问题|断过|掉过|出过|有问题|得毛病)|没什么(问题|意见|毛病)|"
    r"挑不出|(?<![不没难])(挺好|蛮好|很好|满意|放心|靠谱|稳当|稳定得|够意思|值得|挺值|觉得值|合适|划算|公道|认可|利索)(?![吗么不]|[？?])|"
    r"(价格|价钱|价|东西|货|人)(还|挺|蛮|倒|很)?(实在|还行)|没话了?[，。]|没话$"
)
# 「东西挺好，就是贵」: what was praised before a word of contrast is not what is said after it.
_CONTRAST = re.compile(r"但|可是|可(?=你|他|这|那|价)|不过|就是|只是|然而|偏偏|唯独")
_REFUSES = re.compile(
    r"红线|规定不|不允许|不让|不许|不能(跟|给|说|讲|收|答应|乱|往)|不敢|不方便(说|讲|透露)|没(有)?(这个)?权限|没这个权|砸饭碗|"
    r"真不能|不可以|违规|违法|犯法|合规|审计|不合适|明码标价|我们不(做|搞|干|收|给|兴|来)|从来不|一律|别(来|跟我)|"
    r"不(做|搞|干|兴|来)(这|那|这种|那种)|正规|不收|拿不得|保密|不评价|不做评价"
)


_EDGES = str.maketrans(dict.fromkeys(CLAUSE_ENDS, "\n"))


@lru_cache(maxsize=256)
def _edged(text: str) -> str:
    """Return the text with one and the same character at every end of a clause."""
    return text.translate(_EDGES)


def _clause_start(text: str, at: int) -> int:
    return _edged(text).rfind("\n", 0, at) + 1


def _clause_end(text: str, at: int) -> int:
    end = _edged(text).find("\n", at)
    return end if end >= 0 else len(text)


def _negation(text: str, start: int, end: int) -> bool:
    before = _INNOCENT.sub("＿", text[max(_clause_start(text, start), start - 8) : start])
    if _NEGATOR.search(before):
        return True
    after = _INNOCENT.sub("＿", text[end : _clause_end(text, end)])
    return _DENIED_AFTER.search(after) is not None


def _question(text: str, start: int, end: int) -> bool:
    stop = _clause_end(text, end)
    clause = text[_clause_start(text, start) : stop]
    closed = clause + (text[stop] if stop < len(text) and text[stop] in "？?" else "")
    if _TAG.search(closed):
        return False
    return _ASKS.search(closed) is not None or _ASKS_INSIDE.search(clause) is not None


def _before(pattern: re.Pattern[str]) -> Guard:
    return lambda text, start, end: pattern.search(text, 0, end) is not None


def _anywhere(pattern: re.Pattern[str]) -> Guard:
    return lambda text, start, end: pattern.search(text) is not None


def _content(text: str, start: int, end: int) -> bool:
    turns = [match.end() for match in _CONTRAST.finditer(text, 0, start + 2) if match.start() <= start]
    return _CONTENT.search(text, min(start, turns[-1]) if turns else 0) is not None


def _conditional(text: str, start: int, end: int) -> bool:
    return _IF.search(text, _clause_start(text, start), _clause_end(text, end)) is not None


GUARDS: dict[str, tuple[str, Guard]] = {
    "negation": ("否定：我们不能返点、返点就别提了", _negation),
    "question": ("询问：你们有返点吗（「您看行吗」不算）", _question),
    "third_party": ("说的是别人：隔壁那家、听说", _before(_OTHERS)),
    "reported": ("转述：你上次说、他们讲", _before(_REPORTS)),
    "past": ("过去的事：去年、上回", _before(_PAST)),
    "conditional": ("假设：要是、如果", _conditional),
    "content": ("满意或客气：价格倒是不贵、没话说", _content),
    "refusal": ("拒绝或合规声明：红线、没这个权限", _anywhere(_REFUSES)),
}
