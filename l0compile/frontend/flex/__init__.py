"""``torch.nn.attention.flex_attention`` as attention over listed key blocks."""
