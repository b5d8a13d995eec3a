"""Options of a training that takes a second."""

TINY_NETWORK = [
    "--model=deeplabv3plus_mobilenet_v2",
    "--weights=none",
    "--set",
    "network.aspp_channels=8",
    "network.decoder_channels=8",
    "network.separable=true",
    "network.atrous_rates=2,4",
]
