"""The recipe of a run on an image classifier. Frozen; unknown fields are refused with the nearest name."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from expunge.core.settings import Part
from expunge.runs.audit import Limits
from expunge.runs.recipe import BaseRecipe, Thresholds


class Images(Part):
    """How pictures are read and split."""

    size: PositiveInt | None = None
    "height and width in pixels that pictures are brought to; default: the model's own, or 32 for a new one"
    label: str | None = None
    "column with the class, if the layout of the data does not give it"
    bins: PositiveInt | None = None
    "cut a numeric label into this many classes of equal width"
    limit: PositiveInt | None = None
    "read only this many pictures, from the start"
    validation: float = Field(default=0.1, gt=0, lt=1)
    "share of the pictures held back for the method's own decisions"
    test: float = Field(default=0.1, gt=0, lt=1)
    "share of the pictures held back for measuring"
    only_train: bool = False
    "look for pictures to forget in the training part only, as the 2023 challenge did"
    skip_unreadable: bool = False
    "skip pictures that cannot be read and report how many, instead of stopping"


class Fitting(Part):
    """Training a classifier from random weights, of the base model and of retrained ones."""

    num_train_epochs: PositiveFloat = 30.0
    "passes over the training pictures, as in the 2023 challenge"
    learning_rate: PositiveFloat = 1e-3
    "highest learning rate, falling along a cosine; 1e-4 for the challenge's wider network"
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    "as in the 2023 challenge"
    weight_decay: NonNegativeFloat = 5e-3
    "as in the 2023 challenge"
    per_device_train_batch_size: PositiveInt = 64
    "pictures in a batch, as in the 2023 challenge"
    class_weights: bool = True
    "weigh classes by the inverse of their frequency, as in the 2023 challenge"


class Unlearning(Part):
    """The loop of methods that are one loss (gradient difference, NPO, ...); methods with phases have their own
    fields."""

    num_train_epochs: PositiveFloat = 2.0
    "passes over the retain set; over the forget set for methods that draw no other"
    learning_rate: PositiveFloat = 1e-3
    "highest learning rate, falling along a cosine"
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    "with momentum 0.9 for SGD"
    weight_decay: NonNegativeFloat = 5e-4
    "weight decay"
    per_device_train_batch_size: PositiveInt = 64
    "pictures of each set in a batch"


class ImageVerdict(Thresholds):
    """Thresholds fixed before the run; a run passes when all hold."""

    retain_accuracy: PositiveFloat = 0.97
    """at least: accuracy on the retain set, as a share of the retrained model's, or of the model before if there is
    none"""
    test_accuracy: PositiveFloat = 0.97
    """at least: accuracy on the test set, as a share of the retrained model's, or of the model before if there is
    none"""
    forget_gap: PositiveFloat = 0.1
    """at most: distance of accuracy on the forget set from the retrained model's, or from that on new pictures if there
    is none: too high is memory left, too low is a trace of its own"""
    membership_auc: float = Field(default=0.6, gt=0.5, le=1)
    "at most: how well one rule tells forgotten pictures from new ones, in either direction; 0.5 is chance"
    share_of_retraining: PositiveFloat = 0.2
    """at most: image passes of unlearning, as a share of those of training from scratch without the forget set"""
    more: dict[str, float] = {}
    "limits of the measures of other packages that `measures` names, by the name of the threshold; default: their own"


class ImageAudit(Limits):
    """What an audit tries, and its limits. They are fixed, and their digest recorded, before the first
    attack. Shares are fractions: 0.1 is 10 %."""

    pictures: PositiveInt = Field(default=500, ge=8)
    """pictures of the forget set to ask for; an attacker that trains gets one half, and is tested on the other"""
    relearning_steps: PositiveInt = 100
    "optimizer steps of each relearning attack, of at most 64 pictures"
    retain_kept: PositiveFloat = 0.95
    "at least: accuracy on the retain set, as a share of the base model's"
    test_kept: PositiveFloat = 0.95
    "at least: accuracy on the test set, as a share of the base model's"


class ImageRecipe(BaseRecipe):
    """All settings of a run on an image classifier."""

    default_method: ClassVar[str] = "kookmin"

    task: Literal["image_classifier"] = "image_classifier"
    "the kind of model"
    model: str = "resnet18-small"
    "a folder or Hugging Face id; or a model trained here from random weights: resnet18-small, resnet18"
    revision: str | None = None
    "commit of a Hugging Face model"
    data: str
    "a folder of class folders, a CSV of paths and labels, a sheet layout, an .npz, or a Hugging Face dataset id"
    test_data: str | None = None
    "pictures the model was never trained on, of the same classes; default: a share of `data` is held out"
    forget: str
    "a query (`age <= 12`), a file of ids or people, class:NAME, identity:COLUMN:COUNT, or random:SHARE"
    allow_chance_base: bool = False
    "continue with a base model that is no better than chance on the retain set, which is refused otherwise"
    retrained: Literal["train", "none"] | str = "none"
    "the oracle: train one here without the forget set, or a folder that holds one"
    method: dict[str, Any] = Field(default_factory=lambda: {"name": ImageRecipe.default_method})
    "name and hyper-parameters of the method (`expunge methods NAME` lists them)"
    images: Images = Images()
    fitting: Fitting = Fitting()
    unlearning: Unlearning = Unlearning()
    measures: tuple[str, ...] = ()
    "measures of other packages to take too, by name"
    verdict: ImageVerdict = ImageVerdict()
    audit: ImageAudit = ImageAudit()
    seed: NonNegativeInt = 0
    "seed of every draw: split, weights, order, noise"
    excerpts: bool = True
    "whether single pictures to forget are named in the audit, with the models' predictions; none is shown or stored"
    save_seconds: PositiveFloat = 60.0
    "write a checkpoint at most this often"
