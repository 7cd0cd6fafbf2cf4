"""Which MONAI names a plan may use, and the one transform that is fedward's own.

A plan is data, never code: a name outside these lists is refused before anything is imported. Networks map an image to one
logit per class; transforms work on one channel-first array and touch neither disk nor network.
"""

from __future__ import annotations

NETWORKS: frozenset[str] = frozenset(
    {
        "Classifier",
        "DenseNet",
        "DenseNet121",
        "DenseNet169",
        "EfficientNetBN",
        "FullyConnectedNet",
        "ResNet",
        "SEResNet50",
        "ViT",
        "resnet10",
        "resnet18",
        "resnet34",
        "resnet50",
    }
)

# Arguments that would make a network fetch weights from a hub, or write where we do not want it to.
FORBIDDEN_ARGS: frozenset[str] = frozenset({"pretrained", "progress", "pretrained_model_name_or_path", "adv_prop"})

OWN_PREPROCESSING: frozenset[str] = frozenset({"ColourTexture"})  # silo_node/training/colour_texture.py

PREPROCESSING: frozenset[str] = OWN_PREPROCESSING | frozenset(
    {
        "AdjustContrast",
        "BorderPad",
        "CenterSpatialCrop",
        "ClipIntensityPercentiles",
        "CropForeground",
        "GaussianSmooth",
        "HistogramNormalize",
        "NormalizeIntensity",
        "Resize",
        "ResizeWithPadOrCrop",
        "ScaleIntensity",
        "ScaleIntensityRange",
        "ScaleIntensityRangePercentiles",
        "SpatialPad",
        "ThresholdIntensity",
    }
)

AUGMENTATION: frozenset[str] = frozenset(
    {
        "RandAdjustContrast",
        "RandAffine",
        "RandAxisFlip",
        "RandBiasField",
        "RandCoarseDropout",
        "RandFlip",
        "RandGaussianNoise",
        "RandGaussianSharpen",
        "RandGaussianSmooth",
        "RandGridDistortion",
        "RandHistogramShift",
        "RandRotate",
        "RandRotate90",
        "RandScaleIntensity",
        "RandShiftIntensity",
        "RandSpatialCrop",
        "RandStdShiftIntensity",
        "RandZoom",
    }
)
