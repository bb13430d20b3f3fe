# SPDX-License-Identifier: Apache-2.0
"""Small networks over the layers that people of Keras use, as TensorFlow's converter writes them.

    python tests/sweep/keras_networks.py FOLDER [NAME...]

writes an int8 and a float .tflite file of each into a folder. It needs TensorFlow and nothing else;
``sweep.py --files FOLDER`` judges the files.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow import keras

layers = keras.layers
PICTURE = (16, 16, 3)
SOUND = (64, 4)
VECTOR = (24,)
ROWS = (10, 8)
SAMPLES = 16


class Network(NamedTuple):
    """shapes: of the inputs, without the batch. make: from the inputs to the outputs."""

    shapes: tuple[tuple[int, ...], ...]
    make: Callable[..., Any]


NETWORKS: dict[str, Network] = {}


def add(name: str, make: Callable[..., Any], *shapes: tuple[int, ...]) -> None:
    assert name not in NETWORKS
    NETWORKS[name] = Network(shapes or (PICTURE,), make)


def conv(filters: int, kernel: Any = 3, **more: Any) -> Any:
    more.setdefault("padding", "same")
    return layers.Conv2D(filters, kernel, **more)


def unit(x: Any, filters: int, kernel: Any = 3, strides: int = 1) -> Any:
    x = conv(filters, kernel, strides=strides, use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def function(compute: Callable[..., Any]) -> Any:
    """A function of TensorFlow's as a layer."""
    return layers.Lambda(compute)


def between(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: conv(4)(function(conv(8)(x)))


def ends(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: function(layers.Dense(5)(layers.GlobalAveragePooling2D()(unit(x, 8))))


# --- Convolutions -----------------------------------------------------------------------------

add("conv", lambda x: conv(4, 5, strides=2)(conv(8, activation="relu")(x)))
add("conv valid", lambda x: conv(4, (1, 5), padding="valid", activation="relu6")(x))
add("conv dilated", lambda x: conv(6, dilation_rate=2)(x))
add("conv grouped", lambda x: conv(8, groups=4)(conv(8)(x)))
add("conv depthwise", lambda x: layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x))
add("conv separable", lambda x: layers.SeparableConv2D(8, 3, activation="relu")(x))
add("conv transposed", lambda x: layers.Conv2DTranspose(6, 3, 2, padding="same")(x))
add("conv transposed valid", lambda x: layers.Conv2DTranspose(6, 2, 2)(x))
add("conv 1-d", lambda x: layers.Conv1D(3, 3)(layers.Conv1D(8, 5, 2, activation="relu")(x)), SOUND)
add("conv 1-d causal", lambda x: layers.Conv1D(8, 3, padding="causal", dilation_rate=4)(x), SOUND)
add("conv 1-d depthwise", lambda x: layers.DepthwiseConv1D(7, padding="same")(x), SOUND)
add("conv 1-d separable", lambda x: layers.SeparableConv1D(8, 5)(x), SOUND)
add("conv 1-d transposed", lambda x: layers.Conv1DTranspose(6, 4, 2, padding="same")(x), SOUND)
add("dense", lambda x: layers.Dense(4)(layers.Dense(16, "relu")(x)), VECTOR)
add("dense on rows", lambda x: layers.Dense(4)(layers.Dense(12, "relu")(x)), ROWS)
add(
    "locally reshaped",
    lambda x: layers.Dense(4)(layers.Flatten()(layers.Reshape((4, 6))(x))),
    VECTOR,
)

# --- Activations ------------------------------------------------------------------------------

for _name in (
    "relu", "relu6", "leaky_relu", "hard_swish", "hard_sigmoid", "silu", "gelu", "mish", "elu",
    "selu", "sigmoid", "tanh", "softplus", "softsign", "exponential", "hard_tanh", "hard_shrink",
    "soft_shrink", "log_sigmoid", "tanh_shrink", "celu", "squareplus",
):  # fmt: skip
    add(_name, between(layers.Activation(_name)))
add("prelu", between(layers.PReLU(shared_axes=[1, 2], alpha_initializer="uniform")))
add("relu with a threshold", between(layers.ReLU(max_value=3.0, threshold=0.1)))
add("gelu by tanh", between(lambda x: keras.activations.gelu(x, approximate=True)))
add("clip", between(lambda x: keras.ops.clip(x, -0.5, 0.75)))

# --- Pools ------------------------------------------------------------------------------------

add("max pool", lambda x: layers.MaxPooling2D(3, 2, padding="same")(conv(8)(x)))
add("average pool", lambda x: layers.AveragePooling2D(2)(conv(8)(x)))
add("average pool same", lambda x: layers.AveragePooling2D(3, 2, padding="same")(conv(8)(x)))
add("global average pool", lambda x: layers.Dense(3)(layers.GlobalAveragePooling2D()(conv(8)(x))))
add("global max pool", lambda x: layers.Dense(3)(layers.GlobalMaxPooling2D()(conv(8)(x))))
add("global pool kept", lambda x: layers.GlobalAveragePooling2D(keepdims=True)(conv(8)(x)))
add(
    "pool 1-d",
    lambda x: layers.AveragePooling1D(2)(layers.MaxPooling1D(4)(layers.Conv1D(6, 3)(x))),
    SOUND,
)
add(
    "global pool 1-d",
    lambda x: layers.Dense(3)(layers.GlobalMaxPooling1D()(layers.Conv1D(6, 3)(x))),
    SOUND,
)

# --- Normalizations ---------------------------------------------------------------------------

add("batch norm", lambda x: conv(4)(layers.BatchNormalization()(unit(x, 8))))
add(
    "batch norm of a vector",
    lambda x: layers.Dense(3)(layers.BatchNormalization()(layers.Dense(8, "relu")(x))),
    VECTOR,
)
add(
    "layer norm",
    lambda x: layers.Dense(4)(layers.LayerNormalization()(layers.Dense(16)(x))),
    VECTOR,
)
add("layer norm of pixels", between(layers.LayerNormalization()))
add("group norm", between(layers.GroupNormalization(2)))
add("instance norm", between(layers.GroupNormalization(-1)))
add("unit norm", lambda x: layers.UnitNormalization()(layers.Dense(8)(x)), VECTOR)
add("normalization", lambda x: conv(4)(layers.Normalization(mean=0.4, variance=0.05)(x)))
add("rescaling", lambda x: conv(4)(layers.Rescaling(1 / 127.5, -1)(x)))
add(
    "dropout and noise",
    lambda x: conv(4)(layers.GaussianNoise(0.1)(layers.SpatialDropout2D(0.2)(x))),
)

# --- Moves ------------------------------------------------------------------------------------

add("flatten", lambda x: layers.Dense(4)(layers.Flatten()(layers.MaxPooling2D(4)(conv(4)(x)))))
add("permute", between(layers.Permute((2, 1, 3))))
add("reshape", lambda x: layers.Reshape((-1, 6))(conv(6)(x)))
add("upsample nearest", lambda x: layers.UpSampling2D(2)(conv(4)(x)))
add("upsample bilinear", lambda x: layers.UpSampling2D(2, interpolation="bilinear")(conv(4)(x)))
add("resizing", lambda x: conv(4)(layers.Resizing(24, 20)(x)))
add("upsample 1-d", lambda x: layers.UpSampling1D(2)(layers.Conv1D(6, 3)(x)), SOUND)
add(
    "zero padding",
    lambda x: conv(4, 3, padding="valid", strides=2)(layers.ZeroPadding2D(((0, 1), (0, 1)))(x)),
)
add("zero padding alone", lambda x: layers.ZeroPadding2D(2)(conv(4)(x)))
add("padding 1-d", lambda x: layers.Conv1D(4, 3)(layers.ZeroPadding1D((4, 0))(x)), SOUND)
add(
    "reflection",
    between(function(lambda x: tf.pad(x, [[0, 0], [2, 2], [2, 2], [0, 0]], "REFLECT"))),
)
add("cropping", lambda x: layers.Cropping2D(((1, 2), (3, 0)))(conv(4)(x)))
add("concatenate", lambda x: layers.Concatenate()([conv(4)(x), conv(5)(x), x]))
add("slices", lambda x: conv(6)(x)[:, 1:, ::2, 1:4])
add("split", between(function(lambda x: tf.concat(tf.split(x, 2, axis=-1)[::-1], -1))))
add(
    "stack",
    lambda x: layers.Dense(3)(
        function(lambda y: tf.stack(y, 1))([layers.Dense(8)(x), layers.Dense(8)(x)])
    ),
    VECTOR,
)
add("depth to space", lambda x: function(lambda y: tf.nn.depth_to_space(y, 2))(conv(8)(x)))
add("space to depth", lambda x: conv(4)(function(lambda y: tf.nn.space_to_depth(y, 2))(x)))
add(
    "channel shuffle",
    between(
        lambda x: layers.Reshape((16, 16, 8))(
            layers.Permute((1, 2, 4, 3))(layers.Reshape((16, 16, 2, 4))(x))
        )
    ),
)
add("repeat vector", lambda x: layers.Dense(4)(layers.RepeatVector(6)(layers.Dense(8)(x))), VECTOR)
add("flip", between(lambda x: keras.ops.flip(x, 2)))
add("tile", between(lambda x: keras.ops.tile(x, (1, 2, 1, 1))))
add("gather", between(function(lambda x: tf.gather(x, [3, 2, 1, 0], axis=-1))))

# --- Arithmetic, reductions, ends -------------------------------------------------------------

add("residual", lambda x: layers.ReLU()(layers.Add()([y := unit(x, 8), conv(8)(y)])))
add("multiply", lambda x: layers.Multiply()([conv(6)(x), conv(6, activation="sigmoid")(x)]))
add("subtract", lambda x: layers.Subtract()([conv(6)(x), conv(6)(x)]))
add("average", lambda x: layers.Average()([conv(6)(x), conv(6)(x), conv(6)(x)]))
add("maximum", lambda x: layers.Maximum()([conv(6)(x), conv(6)(x)]))
add("minimum", lambda x: layers.Minimum()([conv(6)(x), conv(6)(x)]))
add("divide", lambda x: conv(6)(x) / (1 + conv(6, activation="sigmoid")(x)))
add("dot", lambda x: layers.Dot(1)([layers.Dense(8)(x), layers.Dense(8)(x)]), VECTOR)
add("square", between(keras.ops.square))
add("cube", between(lambda x: x**3))
add("absolute", between(keras.ops.abs))
add("root", between(lambda x: keras.ops.sqrt(keras.ops.square(x) + 0.01)))
add("where", between(function(lambda x: tf.where(x > 0.1, x, x * 0.3))))
add("mean of channels", lambda x: keras.ops.mean(conv(8)(x), -1, keepdims=True))
add("max over time", lambda x: keras.ops.max(layers.Conv1D(8, 3)(x), 1), SOUND)
add("sum", lambda x: keras.ops.sum(conv(4)(x), (1, 2)))
add("deviation", lambda x: keras.ops.std(conv(4)(x), (1, 2)))
add("softmax", ends(layers.Softmax()))
add("log softmax", ends(function(tf.nn.log_softmax)))
add("sigmoid at the end", ends(layers.Activation("sigmoid")))
add("argmax", ends(function(lambda x: tf.argmax(x, -1, tf.int32))))
add("top 2", ends(function(lambda x: tf.math.top_k(x, 2).values)))
add("softmax of pixels", lambda x: layers.Softmax()(conv(6)(x)))
add(
    "two inputs",
    lambda x, y: layers.Concatenate()(
        [layers.GlobalAveragePooling2D()(unit(x, 8)), layers.Dense(8)(y)]
    ),
    PICTURE,
    VECTOR,
)
add("two outputs", lambda x: [conv(4)(x), layers.GlobalAveragePooling2D()(conv(5)(x))])

# --- Blocks and networks ----------------------------------------------------------------------


def excited(x: Any, channels: int, gate: str = "sigmoid") -> Any:
    y = layers.GlobalAveragePooling2D(keepdims=True)(x)
    y = conv(channels, 1, activation=gate)(conv(4, 1, activation="relu")(y))
    return layers.Multiply()([x, y])


def inverted(x: Any, activation: str) -> Any:
    y = layers.BatchNormalization()(conv(24, 1, use_bias=False)(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(layers.Activation(activation)(y))
    y = layers.Activation(activation)(layers.BatchNormalization()(y))
    return layers.Add()(
        [x, layers.BatchNormalization()(conv(8, 1, use_bias=False)(excited(y, 24)))]
    )


def unet(x: Any) -> Any:
    a = unit(x, 6)
    b = unit(layers.MaxPooling2D()(a), 8)
    c = unit(layers.MaxPooling2D()(b), 12)
    d = unit(layers.Concatenate()([layers.Conv2DTranspose(8, 2, 2)(c), b]), 6)
    wide = layers.UpSampling2D(interpolation="bilinear")(d)
    return conv(2, 1, activation="sigmoid")(unit(layers.Concatenate()([wide, a]), 6))


def causal(x: Any) -> Any:
    y = layers.Conv1D(8, 3, padding="causal", dilation_rate=2, activation="relu")(x)
    return layers.ReLU()(layers.Add()([y, layers.Conv1D(8, 1)(x)]))


def attention(x: Any) -> Any:
    return layers.MultiHeadAttention(2, 4)(x, x)


def encoder(x: Any) -> Any:
    y = layers.LayerNormalization()(layers.Add()([x, attention(x)]))
    return layers.LayerNormalization()(
        layers.Add()([y, layers.Dense(8)(layers.Dense(16, "gelu")(y))])
    )


def keywords(x: Any) -> Any:
    y = unit(x, 8, (10, 4), 2)
    for _ in range(2):
        y = layers.ReLU()(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(y)))
        y = unit(y, 8, 1)
    return layers.Softmax()(
        layers.Dense(6)(layers.Dropout(0.4)(layers.GlobalAveragePooling2D()(y)))
    )


add("squeeze and excitation", lambda x: excited(unit(x, 8), 8))
add("mobilenet v3 block", lambda x: inverted(unit(x, 8, 3, 2), "hard_swish"))
add("efficientnet block", lambda x: inverted(unit(x, 8, 3, 2), "silu"))
add("u-net", unet)
add(
    "autoencoder",
    lambda x: layers.Conv2DTranspose(3, 3, 2, "same", activation="sigmoid")(
        layers.Conv2DTranspose(8, 3, 2, "same", activation="relu")(unit(unit(x, 8, 3, 2), 4, 3, 2))
    ),
)
add(
    "dense autoencoder",
    lambda x: layers.Dense(24)(layers.Dense(8, "relu")(layers.Dense(16, "relu")(x))),
    VECTOR,
)
add("tcn", lambda x: layers.Dense(3)(causal(x)[:, -1]), SOUND)
add(
    "sound by lines",
    lambda x: layers.Dense(4, "softmax")(
        layers.GlobalAveragePooling1D()(
            layers.Conv1D(12, 3, activation="relu")(
                layers.MaxPooling1D(4)(
                    layers.BatchNormalization()(layers.Conv1D(8, 16, 8, activation="relu")(x))
                )
            )
        )
    ),
    (400, 1),
)
add(
    "sensor of rows",
    lambda x: layers.Dense(4)(layers.Flatten()(layers.Conv1D(8, 5, activation="relu")(x))),
    (32, 6),
)
add(
    "sensor as a picture",
    lambda x: layers.Dense(4)(
        layers.Flatten()(layers.Conv2D(6, (5, 1), activation="relu")(layers.Reshape((32, 6, 1))(x)))
    ),
    (32, 6),
)
add("keywords", keywords, (40, 12, 1))
add(
    "time distributed",
    lambda x: layers.Dense(3)(layers.Flatten()(layers.TimeDistributed(layers.Dense(6, "relu"))(x))),
    ROWS,
)
add("attention", attention, ROWS)
add("encoder", encoder, ROWS)
add("gru", lambda x: layers.GRU(8)(x), (10, 6))
add("lstm", lambda x: layers.LSTM(8)(x), (10, 6))
add(
    "mobilenet v1",
    lambda x: keras.applications.MobileNet((32, 32, 3), 0.25, weights=None, classes=5)(x),
    (32, 32, 3),
)
add(
    "mobilenet v2",
    lambda x: keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None, classes=5)(x),
    (32, 32, 3),
)
add(
    "mobilenet v3",
    lambda x: keras.applications.MobileNetV3Small(
        (32, 32, 3), 0.35, minimalistic=False, weights=None, classes=5
    )(x),
    (32, 32, 3),
)


def samples(network: Network) -> list[list[Any]]:
    rng = np.random.default_rng(3)
    return [
        [rng.normal(0, 1, (1, *shape)).astype(np.float32) for shape in network.shapes]
        for _ in range(SAMPLES)
    ]


def built(name: str) -> Any:
    keras.utils.set_random_seed(zlib.crc32(name.encode()))
    rng, network = np.random.default_rng(1), NETWORKS[name]
    # The converter takes samples in the order of names.
    named = zip("xyz", network.shapes, strict=False)
    inputs = [keras.Input(shape, batch_size=1, name=letter) for letter, shape in named]
    model = keras.Model(inputs, network.make(*inputs))
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.2, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, layer.moving_variance.shape))
    return model


def converted(model: Any, data: list[list[Any]], *, whole: bool) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if whole:

        def representative() -> Iterator[dict[str, Any]]:
            yield from (
                {t.name: x for t, x in zip(model.inputs, case, strict=True)} for case in data
            )

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(NETWORKS)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        for form in ("int8", "float"):
            path = folder / f"{name.replace(' ', '_')}.{form}"
            try:
                made = converted(built(name), samples(NETWORKS[name]), whole=form == "int8")
                path.with_suffix(f".{form}.tflite").write_bytes(made)
            except Exception as error:  # whatever TensorFlow raises is its answer
                words = " ".join(str(error).split())[:200]
                path.with_suffix(f".{form}.txt").write_text(words, encoding="utf-8")


if __name__ == "__main__":
    main()
