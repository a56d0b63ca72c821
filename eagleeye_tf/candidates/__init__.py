"""Which pruning strategy is good. Is handed images; knows no zoo or flag."""
