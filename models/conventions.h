// The conventions in which the frameworks differ although they build "the same" network. Internal to models/;
// docs/weights.md tabulates them with their sources.
#pragma once

#include "layers/modules.h"
#include "models/zoo.h"

namespace fovea::models {

struct Conventions {
  /// TensorFlow's "same" (at stride 2 zeros go to the bottom and right) or (k−1)/2 on every side (PyTorch).
  bool tf_same = false;
  BatchNormOptions norm;  ///< epsilon, momentum, kind of running variance

  Padding padding(int kernel) const { return tf_same ? Padding::tf_same() : Padding::same_both((kernel - 1) / 2); }
};

/// Of most networks of a layout: PyTorch's (symmetric padding, epsilon 1e-5, momentum 0.1) for torchvision and timm;
/// TensorFlow's ("same" padding, epsilon 1e-3, biased running variance) for keras, tfslim, huggingface and lukemelas,
/// and for timm's "tf" variants. Architectures override what they do otherwise.
Conventions conventions(const Options& options);

/// Preprocessing of a layout's weights for inputs of `size`×`size`: torchvision and timm: 1/255, ImageNet mean and
/// deviation; Keras and TensorFlow: x/127.5 − 1, stretched (Keras) or centre-cropped.
image::Preprocessing preprocessing(const Options& options, int size);

}  // namespace fovea::models
