"""What tests of the living catalogue share: titles in their sellers' manner, and a model that weighs all evidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from index.blending import BlendConfig
from index.catalog import Loaded
from index.decision import Decision
from index.evidence import EVIDENCE
from index.nodes import group
from index.probability import ProbabilityModel
from index.vectors import Vectors
from index.wording import Numbers

PRODUCTS = [
    "농심 신라면 120g x 5봉", "농심 너구리 얼큰한맛 120g", "오뚜기 진라면 순한맛 5개입", "제주 삼다수 2L x 6",
    "코카콜라 제로 355ml 24캔", "매일 상하목장 우유 1L", "서울우유 나100% 900ml", "CJ 햇반 백미밥 210g 12개",
    "동원 참치캔 라이트 150g 10개", "로지텍 MX Master 3S 마우스", "삼성 갤럭시 버즈2 프로 SM-R510",
    "소니 WH-1000XM5 헤드폰",
]  # fmt: skip
SELLERS = ["{}", "[무료배송] {}", "{} 당일발송", "{} 모음", "마트) {}", "{} 대용량", "신선한 {}", "{} (유통기한 넉넉)"]
TITLES = [seller.format(product) for product in PRODUCTS for seller in SELLERS]
QUERIES = [*TITLES[::5], "농심 신라면 5개", "제로콜라 캔", "소니 헤드폰 XM5", "ꆈꌠꁱꂷ", "😀", ""]


class Weighed(ProbabilityModel):
    """Every column of the evidence counts a little, so that none can be wrong unseen; cosines count most."""

    def __init__(self) -> None:
        self._weights = np.random.default_rng(0).normal(size=len(EVIDENCE)) / 20

    def predict(self, evidence: Numbers) -> npt.NDArray[np.float64]:
        more = np.nan_to_num(evidence).astype(np.float64) @ self._weights
        return np.asarray(1 / (1 + np.exp(-14 * (evidence[:, 1] - 0.75) - more)))


# The prior of these titles, all of which have partners, loosens .63 to .5.
DECISION = Decision(BlendConfig(stages=2, k=20), 0.5, 0.63, 1.0, 0.0, model=Weighed())


def loaded_of(ids: Sequence[str], titles: Sequence[str], vectors: Vectors, revision: int = 1) -> Loaded:
    """Items as a store would load them; ``vectors`` are of the titles."""
    _, node_of = group(titles)
    rows, first = np.unique(node_of, return_index=True)
    return Loaded(list(ids), list(titles), node_of, rows + 100, vectors[first], revision)
