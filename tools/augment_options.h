// The augmentation options that train and augment-preview share.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "augment/transform.h"

namespace fovea::tools {

struct AugmentOptions {
  std::string preset;             ///< none, flip, light, standard, strong, trivial, rand; empty: by the kind of data
  double hflip = -1, vflip = -1;  ///< probabilities; negative: as the preset
  int shift = -1;                 ///< pixels; negative: as the preset
  double rotate = 0, brightness = 0, contrast = 0, saturation = 0, hue = 0, erase = 0, blur = 0, noise = 0;
  double mixup = 0, cutmix = 0;  ///< alpha
};

void add_augment_options(CLI::App& command, AugmentOptions& options);
/// The transforms of one picture. @param width, height the network's input; @param small pictures of MNIST's or CIFAR's
/// kind, whose default is `light`, others' is `standard`
std::vector<TransformPtr> make_transforms(const AugmentOptions& options, int width, int height, bool small);
/// Mixup and cutmix (one of them per batch when both are asked for).
std::vector<BatchTransformPtr> make_batch_transforms(const AugmentOptions& options);

}  // namespace fovea::tools
