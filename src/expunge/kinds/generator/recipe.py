"""The recipe of a run on an image-to-image generator. Frozen; unknown fields are refused with the nearest name."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from expunge.core.settings import Part
from expunge.kinds.classifier.recipe import ImageAudit
from expunge.runs.recipe import BaseRecipe, Thresholds


class GeneratorImages(Part):
    """How pictures are read and parted."""

    size: PositiveInt | None = None
    "height and width in pixels that pictures are brought to; default: the model's own, or 64 for a new one"
    label: str | None = None
    "column that holds the class that the feature network learns, where the layout of the data does not say"
    bins: PositiveInt | None = None
    "cut a numeric label into so many classes of equal width"
    limit: PositiveInt | None = None
    "read only so many pictures, from the start"
    test: float = Field(default=0.1, gt=0, lt=1)
    "share of the pictures, of both kinds, held back for measuring: no model is trained on them"
    skip_unreadable: bool = False
    "pass over pictures that cannot be read, and say how many, in place of stopping"


class GeneratorFitting(Part):
    """Training a generator from random weights, of the base model and of a retrained one."""

    num_train_epochs: PositiveFloat = 6.5
    "passes over the training pictures; of twenty thousand, the small masked autoencoder makes so many in 8 minutes"
    learning_rate: PositiveFloat = 1.5e-3
    "highest learning rate of AdamW, rising over the first steps and falling along a cosine"
    weight_decay: NonNegativeFloat = 0.05
    "as He et al. 2021 train masked autoencoders"
    warmup_ratio: float = Field(default=0.05, ge=0, le=1)
    "share of the steps over which the learning rate rises"
    per_device_train_batch_size: PositiveInt = 32
    "pictures in a batch; small ones, since a small model needs many steps more than quiet gradients"


class Network(Part):
    """The network whose features and classes measure pictures."""

    model: str = "resnet18-small"
    "a folder or Hugging Face id of any image model of transformers; resnet18-small is trained here on the same pictures"
    size: PositiveInt = 32
    "pixels that pictures are brought to for a network trained here"
    num_train_epochs: PositiveFloat = 4.0
    "passes over the training pictures for a network trained here"
    learning_rate: PositiveFloat = 2e-3
    "highest learning rate of Adam for a network trained here"


class GeneratorEvaluation(Part):
    """What is measured, of every model."""

    pictures: PositiveInt = 2000
    "at most so many pictures of each split, from its start"
    identity: str | None = None
    "column with the identity of a picture's person; default: person, identity or subject, else one picture each"
    attack_pictures: NonNegativeInt = 32
    "forgotten pictures owned by an attacker, to recover the others; 0 makes no attacks"
    attack_steps: PositiveInt = 40
    "steps of gradient descent of an attack that trains"
    front: tuple[NonNegativeFloat, ...] = ()
    "values of the method's trade-off field (alpha, epsilon, strangeness) at which retaining is plotted against forgetting"
    grid: NonNegativeInt = 6
    "pictures to keep, and as many to forget, shown in the report; 0 shows none"


class GeneratorVerdict(Thresholds):
    """Thresholds fixed before the run; a run passes when all hold."""

    retain_frechet: PositiveFloat = 1.05
    """at most: Fréchet distance of completions to originals on held-back pictures to keep, as a share of the model
    before"""
    retain_psnr: NonNegativeFloat = 0.3
    "at most: PSNR lost on the same pictures (dB)"
    forget_frechet: PositiveFloat = 3.0
    """at least: Fréchet distance of completions to originals on pictures to forget, trained on or held back, whichever is
    nearer (as a multiple of the model before)"""
    forget_recognition: Literal["chance"] = "chance"
    """at most: how far down the exact interval (Clopper and Pearson) reaches of the share of forgotten pictures that the
    completion gives away, trained on or held back, whichever is further above; the limit is chance. With names it is the
    person that is given away; without, the group, such as an age, and a retrained model's share is the limit if it is
    lower"""
    forget_identification: Literal["retrained"] = "retrained"
    """at most: the share of forgotten pictures without names that the completion tells from all others, trained on or held
    back. What a model shows of a picture tells much of the rest, so the limit is what the retrained model identifies"""
    share_of_retraining: PositiveFloat = 0.1
    """at most: image passes of unlearning, as a share of those of training from scratch without the forget set"""
    more: dict[str, float] = {}
    "limits of the measures of other packages that `measures` names, by the name of the threshold; default: their own"


class GeneratorAudit(ImageAudit):
    """What an audit tries, and the limits that it is judged by. They are fixed, and their digest noted, before the first
    attack. Shares are fractions: 0.1 is 10 %."""

    retain_kept: PositiveFloat = 0.95
    "at least: what is drawn of the hidden pixels of the retain set, as a share of the base model's"
    test_kept: PositiveFloat = 0.95
    "at least: the same of held-back pictures to keep"


class GeneratorRecipe(BaseRecipe):
    """Everything that decides what a run on an image-to-image generator does."""

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
    "pictures from elsewhere that serve as the retain set while unlearning, where the model's own are gone"
    corruption: Literal["random-patches", "center-crop", "border", "downsampling", "noise"] = "random-patches"
    "what the generator undoes"
    strength: PositiveFloat | None = None
    "how strong the corruption is: a share that is hidden, pixels averaged, or a standard deviation"
    retrained: Literal["train", "none", "auto"] | str = "none"
    "the oracle: train one here without the forget set, or a folder that holds one; auto: train where the model is, too"
    method: dict[str, Any] = Field(default_factory=lambda: {"name": GeneratorRecipe.default_method})
    "name and hyper-parameters of the method (`expunge methods NAME` lists them)"
    images: GeneratorImages = GeneratorImages()
    fitting: GeneratorFitting = GeneratorFitting()
    network: Network = Network()
    evaluation: GeneratorEvaluation = GeneratorEvaluation()
    measures: tuple[str, ...] = ()
    "measures of other packages that are taken too, by name"
    verdict: GeneratorVerdict = GeneratorVerdict()
    audit: GeneratorAudit = GeneratorAudit()
    seed: NonNegativeInt = 0
    "decides every draw: split, weights, order, corruptions, noise"
    excerpts: bool = True
    "whether pictures, and what the models made of them, are shown in the report and kept in the run folder"
    save_seconds: PositiveFloat = 60.0
    "write a checkpoint at most this often"
