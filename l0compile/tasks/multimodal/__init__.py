"""Several modalities in one shared transformer: reviews (text, table, rating) and digits (image patches)."""

from l0compile.tasks.multimodal.ablation import Ablation as Ablation
from l0compile.tasks.multimodal.ablation import ablate as ablate
from l0compile.tasks.multimodal.digits import DigitsOptions as DigitsOptions
from l0compile.tasks.multimodal.digits import DigitsTask as DigitsTask
from l0compile.tasks.multimodal.reviews import ReviewsOptions as ReviewsOptions
from l0compile.tasks.multimodal.reviews import ReviewsTask as ReviewsTask
from l0compile.tasks.multimodal.transformer import SharedTransformer as SharedTransformer
from l0compile.tasks.multimodal.watch import ModalityWatch as ModalityWatch
