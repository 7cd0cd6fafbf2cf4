"""A network of your own: plan.yaml names it (network.name: code.MyNetwork) and gives it its arguments (network.args).

It may import Python's standard library, torch, monai and numpy, and runs without network and files (docs/custom-code.md).
Data officers read every line before they approve it: keep it short and plain.
"""

from torch import Tensor, nn


class MyNetwork(nn.Module):
    """Images (n, channels, height, width) to logits (n, classes).

    GroupNorm and not BatchNorm: under differential privacy each patient is seen alone.
    """

    def __init__(self, channels: int, classes: int, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            nn.GroupNorm(4, width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.GroupNorm(8, 2 * width),
            nn.ReLU(),
        )
        self.head = nn.Linear(2 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes)."""
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


# A loss of your own is a function here, named in plan.yaml as training.loss.name: code.NAME. It takes logits (n, classes) and
# labels (n,), and returns the mean loss.
