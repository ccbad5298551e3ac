"""Clusters of similar points."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def k_means(points: Tensor, clusters: int, seed: int) -> Tensor:
    """(n,) number of the cluster of each point, by scikit-learn: k-means++ and Lloyd's algorithm.

    Args:
        points: (n, width), in any units: each column is brought to mean 0 and standard deviation 1.
        clusters: number of clusters, at most; fewer if fewer points differ.
    """
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    scaled = StandardScaler().fit_transform(points.double().numpy())
    clusters = min(clusters, len(np.unique(scaled, axis=0)))
    with threadpool_limits(1):  # threads add up in an order of their own
        found = KMeans(clusters, random_state=seed % (1 << 32)).fit_predict(scaled)
    return torch.from_numpy(found).long()
