"""A vocabulary as large as one likes, for measuring: the shipped packs, and names as trades make them."""

from __future__ import annotations

import random
from pathlib import Path

from edge_agent.terms import Pack, Term

TOP = Path(__file__).resolve().parent.parent
PACKS = ("pharma", "manufacturing", "education", "retail", "finance")

_DRUG = (
    "阿奥贝布达德恩氟格环加卡拉洛美米莫尼诺帕普瑞塞舒司他替托维西辛伊依扎佐吉艾非厄坎利罗咪曲",
    "西他洛伐格瑞司莫替尼帕罗曲拉美氯硝昔福舍氨托吡呋噻齐奥米特地布那立培",
    (
        "林",
        "平",
        "普利",
        "沙坦",
        "他汀",
        "替尼",
        "单抗",
        "霉素",
        "沙星",
        "唑",
        "洛尔",
        "列净",
        "格列汀",
        "韦",
        "西泮",
        "奈德",
    ),
    ("片", "胶囊", "注射液", "缓释片", "颗粒", "口服液", "分散片", "软膏", "滴眼液", "", ""),
)
_PLACES = """
    上海 苏州 杭州 宁波 无锡 合肥 南京 济南 青岛 烟台 西安 成都 重庆 武汉 长沙 广州 深圳
    佛山 东莞 厦门 福州 南昌 郑州 洛阳 天津 沈阳 大连 长春 昆明 贵阳
""".split()
_BRAND = (
    "安宝博辰晨成诚创德鼎东恩凡方飞丰福冠光广国海汉航昊浩和恒宏鸿华汇慧佳嘉建健江捷金锦晶景巨凯康科坤蓝朗乐力立联龙"
    "隆绿迈茂美民明铭南能诺鹏普奇启前强庆荣锐瑞润赛森盛圣胜世顺思泰腾天通同拓威维伟沃西祥新鑫信兴旭亚扬耀业一亿益英"
    "永优宇裕元远越云泽兆正志智中卓"
)
_TRADE = """
    生物 医药 器械 科技 精工 重工 电子 自动化 智能装备 新材料 环保 物流 供应链 教育 检测 模具
    包装 化工 轴承 液压 气动 仪表 光电 半导体 食品 商贸 信息技术
""".split()
_FIRM = ("", "集团", "公司", "有限公司", "股份")
_THING = """
    控制器 传感器 变频器 伺服电机 减速机 输送线 分析仪 监护仪 离心机 培养箱 灌装机 贴标机 检测仪
    注塑机 冲床 数控系统 机械手 编码器 电磁阀 换热器 压缩机 打印机 交换机 扫描枪 收银机 货架系统
    冷链箱 试剂盒 导丝 支架 球囊 缝合线 敷料 骨板 透析器 采血针 课程顾问系统 题库软件 排课系统
    理财计划 年金保险 信托计划 结构性存款
""".split()
_KIND = """
    全自动 半自动 高速 微型 便携式 双通道 多参数 高精度 低温 防爆 不锈钢 智能 无线 立式 台式
    一次性 可吸收 进口 国产 医用 工业 车载 嵌入式 冷藏
""".split()
_RULE = (
    "管理办法",
    "实施细则",
    "备案制度",
    "考核方案",
    "验收标准",
    "准入目录",
    "采购平台",
    "追溯系统",
    "审批流程",
    "操作规程",
)


def vocabulary(count: int, seed: int = 7) -> list[Pack]:
    """Return the shipped packs and one more, `count` terms in all; the same seed gives the same terms."""
    shipped = [Pack.load(TOP / "dictionaries" / name) for name in PACKS]
    known = {term.term for pack in shipped for term in pack.terms}
    chance = random.Random(seed)
    made: dict[str, Term] = {}
    while len(known) + len(made) < count:
        name, category = _name(chance)
        if name not in known and 3 <= len(name) <= 14:
            made.setdefault(name, Term(name, category))
    return [*shipped, Pack("many", name="many", terms=tuple(made.values()))]


def _name(chance: random.Random) -> tuple[str, str]:
    brand = "".join(chance.choices(_BRAND, k=chance.choice((2, 3, 3))))
    match chance.randrange(10):
        case 8:
            return "".join(chance.choices(_BRAND, k=chance.choice((3, 3, 4)))), "competitor"
        case 9:
            return brand + chance.choice(_THING)[-2:], "product"
        case 0 | 1:
            first, middle, ends, forms = _DRUG
            name = chance.choice(first) + "".join(chance.choices(middle, k=chance.choice((1, 2, 2))))
            return name + chance.choice(ends) + chance.choice(forms), "product"
        case 2:
            return chance.choice((chance.choice(_PLACES), "")) + brand + chance.choice(_TRADE) + chance.choice(
                _FIRM
            ), "competitor"
        case 3:
            return brand + chance.choice(_THING), "product"
        case 4:
            return chance.choice(_KIND) + chance.choice(_THING), "product"
        case 5:
            letters = "".join(chance.choices("ABCDEFGHKLMNPRSTVXZ", k=chance.choice((2, 3))))
            return letters + chance.choice(
                ("", str(chance.choice((1, 2, 3, 5, 10, 20, 100, 300, 500))))
            ) + chance.choice(_THING), "product"
        case 6:
            return brand + chance.choice(_KIND) + chance.choice(_THING), "product"
        case _:
            return chance.choice(_PLACES) + "市" * chance.randrange(2) + chance.choice(_TRADE) + chance.choice(
                _RULE
            ), "regulation"
