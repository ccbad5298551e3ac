"""The recipe of a run on an image-to-image generator. Frozen; unknown fields are refused with the nearest name."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from expunge.core.settings import Part
from expunge.kinds.classifier.recipe import ImageAudit
from expunge.runs.recipe import BaseRecipe, Thresholds


class GeneratorImages(Part):
    """How pictures are read and split."""

    size: PositiveInt | None = None
    "height and width in pixels that pictures are brought to; default: the model's own, or 64 for a new one"
    label: str | None = None
    "column with the class that the feature network learns, if the layout of the data does not give it"
    bins: PositiveInt | None = None
    "cut a numeric label into this many classes of equal width"
    limit: PositiveInt | None = None
    "read only this many pictures, from the start"
    test: float = Field(default=0.1, gt=0, lt=1)
    "share of the pictures, of both kinds, held back for measuring; no model is trained on them"
    skip_unreadable: bool = False
    "skip pictures that cannot be read and report how many, instead of stopping"


class GeneratorFitting(Part):
    """Training a generator from random weights, of the base model and of a retrained one."""

    num_train_epochs: PositiveFloat = 6.5
    """passes over the training pictures; with 20,000 pictures, the small masked autoencoder takes 8 minutes for the
    default"""
    learning_rate: PositiveFloat = 1.5e-3
    "highest learning rate of AdamW, rising over the first steps and falling along a cosine"
    weight_decay: NonNegativeFloat = 0.05
    "as He et al. 2021 train masked autoencoders"
    warmup_ratio: float = Field(default=0.05, ge=0, le=1)
    "share of the steps over which the learning rate rises"
    per_device_train_batch_size: PositiveInt = 32
    "pictures in a batch; small, since a small model needs many steps more than gradients with little noise"


class Network(Part):
    """The network whose features and classes measure pictures."""

    model: str = "resnet18-small"
    """a folder or Hugging Face id of any image model in transformers; resnet18-small is trained here on the same
    pictures"""
    size: PositiveInt = 32
    "pixels that pictures are brought to for a network trained here"
    num_train_epochs: PositiveFloat = 4.0
    "passes over the training pictures for a network trained here"
    learning_rate: PositiveFloat = 2e-3
    "highest learning rate of Adam for a network trained here"


class GeneratorEvaluation(Part):
    """What is measured on every model."""

    pictures: PositiveInt = 2000
    "at most this many pictures of each split, from its start"
    identity: str | None = None
    "column with the identity of a picture's person; default: person, identity or subject, else one picture each"
    attack_pictures: NonNegativeInt = 32
    "forgotten pictures that an attacker owns, to recover the others; 0: no attacks"
    attack_steps: PositiveInt = 40
    "steps of gradient descent of an attack that trains"
    front: tuple[NonNegativeFloat, ...] = ()
    """values of the method's trade-off field (alpha, epsilon, strangeness) at which retaining is plotted against
    forgetting"""
    grid: NonNegativeInt = 6
    "pictures to keep shown in the report, and the same number to forget; 0 shows none"


class GeneratorVerdict(Thresholds):
    """Thresholds fixed before the run; a run passes when all hold."""

    retain_frechet: PositiveFloat = 1.05
    """at most: Fréchet distance of completions to originals on held-back pictures to keep, as a share of the model
    before"""
    retain_psnr: NonNegativeFloat = 0.3
    "at most: PSNR lost on the same pictures (dB)"
    forget_frechet: PositiveFloat = 3.0
    """at least: Fréchet distance of completions to originals on pictures to forget, trained on or held back, whichever
    is nearer (as a multiple of the model before)"""
    forget_recognition: Literal["chance"] = "chance"
    """at most: lower end of the exact interval (Clopper and Pearson) of the share of forgotten pictures that the
    completion gives away, trained on or held back, whichever is further above; the limit is chance. With names it is
    the person that is given away; without names, the group, such as an age, and a retrained model's share is the limit
    if it is lower"""
    forget_identification: Literal["retrained"] = "retrained"
    """at most: the share of forgotten pictures without names identified from the completion among all others, trained
    on or held back. What is shown of a picture says much about the rest, so the limit is what the retrained model
    identifies"""
    share_of_retraining: PositiveFloat = 0.1
    """at most: image passes of unlearning, as a share of those of training from scratch without the forget set"""
    more: dict[str, float] = {}
    "limits of the measures of other packages that `measures` names, by the name of the threshold; default: their own"


class GeneratorAudit(ImageAudit):
    """What an audit tries, and its limits. They are fixed, and their digest recorded, before the first
    attack. Shares are fractions: 0.1 is 10 %."""

    retain_kept: PositiveFloat = 0.95
    "at least: what is drawn of the hidden pixels of the retain set, as a share of the base model's"
    test_kept: PositiveFloat = 0.95
    "at least: the same of held-back pictures to keep"


class GeneratorRecipe(BaseRecipe):
    """All settings of a run on an image-to-image generator."""

    default_method: ClassVar[str] = "encoder_scrubbing"

    task: Literal["image_to_image"] = "image_to_image"
    "the kind of model"
    model: str = "mae-small"
    "a folder or Hugging Face id; or a model trained here from random weights: mae-small, vq-small, palette-small"
    revision: str | None = None
    "commit of a Hugging Face model"
    data: str
    "a folder of class folders, a CSV of paths and labels, a sheet layout, an .npz, or a Hugging Face dataset id"
    forget: str
    "a query (`age <= 12`), a file of ids or people, class:NAME, identity:COLUMN:COUNT, or random:SHARE"
    retain: str | None = None
    "pictures from elsewhere that serve as the retain set while unlearning, if the model's own are gone"
    corruption: Literal["random-patches", "center-crop", "border", "downsampling", "noise"] = "random-patches"
    "what the generator undoes"
    strength: PositiveFloat | None = None
    "strength of the corruption: the share hidden, pixels averaged, or a standard deviation"
    retrained: Literal["train", "none", "auto"] | str = "none"
    """the oracle: train one here without the forget set, or a folder that holds one; auto: train it if the model is
    trained here"""
    method: dict[str, Any] = Field(default_factory=lambda: {"name": GeneratorRecipe.default_method})
    "name and hyper-parameters of the method (`expunge methods NAME` lists them)"
    images: GeneratorImages = GeneratorImages()
    fitting: GeneratorFitting = GeneratorFitting()
    network: Network = Network()
    evaluation: GeneratorEvaluation = GeneratorEvaluation()
    measures: tuple[str, ...] = ()
    "measures of other packages to take too, by name"
    verdict: GeneratorVerdict = GeneratorVerdict()
    audit: GeneratorAudit = GeneratorAudit()
    seed: NonNegativeInt = 0
    "seed of every draw: split, weights, order, corruptions, noise"
    excerpts: bool = True
    "whether pictures and the models' completions are shown in the report and kept in the run folder"
    save_seconds: PositiveFloat = 60.0
    "write a checkpoint at most this often"
