#include "tools/augment_options.h"

#include "core/error.h"

namespace fovea::tools {

void add_augment_options(CLI::App& command, AugmentOptions& o) {
  const std::string group = "Augmentation";
  command
      .add_option("--augment", o.preset,
                  "Preset: none; flip (mirror left and right, half of the time); light (flip, shift by 2 pixels); "
                  "transfer (flip, most of them turned, moved and enlarged a little, brightness and contrast: for "
                  "fine-tuning); "
                  "standard (random crop, flip, colour); strong "
                  "(standard, rotation, "
                  "erasing); trivial (TrivialAugmentWide); rand (RandAugment). Default: light for pictures up to 32 "
                  "pixels, else standard")
      ->check(CLI::IsMember({"none", "flip", "light", "transfer", "standard", "strong", "trivial", "rand"}))
      ->group(group);
  const auto probability = CLI::Range(0.0, 1.0);
  command
      .add_option("--hflip", o.hflip,
                  "Probability of mirroring left and right (0 where left and right differ in meaning)")
      ->check(probability)
      ->group(group);
  command.add_option("--vflip", o.vflip, "Probability of mirroring top and bottom")->check(probability)->group(group);
  command.add_option("--shift", o.shift, "Move by up to ± this many pixels each way")
      ->check(CLI::Range(0, 4096))
      ->group(group);
  command.add_option("--rotate", o.rotate, "Turn by up to ± this many degrees")
      ->check(CLI::Range(0.0, 180.0))
      ->group(group);
  command.add_option("--brightness", o.brightness, "Brightness by a factor of 1 ± this")
      ->check(CLI::Range(0.0, 10.0))
      ->group(group);
  command.add_option("--contrast", o.contrast, "Contrast by a factor of 1 ± this")
      ->check(CLI::Range(0.0, 10.0))
      ->group(group);
  command.add_option("--saturation", o.saturation, "Saturation by a factor of 1 ± this")
      ->check(CLI::Range(0.0, 10.0))
      ->group(group);
  command.add_option("--hue", o.hue, "Turn the hue by up to ± this share of the circle")
      ->check(CLI::Range(0.0, 0.5))
      ->group(group);
  command.add_option("--erase", o.erase, "Probability of erasing a rectangle")->check(probability)->group(group);
  command.add_option("--blur", o.blur, "Probability of blurring")->check(probability)->group(group);
  command.add_option("--noise", o.noise, "Probability of adding noise")->check(probability)->group(group);
  command.add_option("--mixup", o.mixup, "Mix pairs of pictures, with this alpha")
      ->check(CLI::Range(0.0, 100.0))
      ->group(group);
  command.add_option("--cutmix", o.cutmix, "Paste boxes of other pictures, with this alpha")
      ->check(CLI::Range(0.0, 100.0))
      ->group(group);
}

std::vector<TransformPtr> make_transforms(const AugmentOptions& o, int width, int height, bool small) {
  const std::string preset = !o.preset.empty() ? o.preset : small ? "light" : "standard";
  std::vector<TransformPtr> list;
  const bool crops = preset != "none" && preset != "flip" && preset != "light" && preset != "transfer";
  if (crops && !small) {
    list.push_back(transforms::random_resized_crop(
        {.width = width, .height = height, .scale = {preset == "strong" ? 0.25 : 0.4, 1.0}}));
  }
  const double hflip = o.hflip >= 0 ? o.hflip : preset == "none" ? 0.0 : 0.5;
  if (hflip > 0) list.push_back(transforms::horizontal_flip(hflip));
  // Not all of the pictures: resampling blurs, and a network that never saw a sharp picture in training misjudges
  // them afterwards. Mirrored borders, since black corners would tell which ones were turned.
  if (preset == "transfer") {
    list.push_back(transforms::maybe(0.8, transforms::affine({.degrees = 11,
                                                              .translate = {0.1, 0.1},
                                                              .scale = {0.8, 1.28},
                                                              .shear = {0, 0},
                                                              .warp = {.border = Border::reflect}})));
  }
  if (o.vflip > 0) list.push_back(transforms::vertical_flip(o.vflip));
  const int shift = o.shift >= 0 ? o.shift : preset == "light" || (crops && small) ? 2 : 0;
  if (shift > 0) list.push_back(transforms::shift(shift));
  const double rotate = o.rotate > 0 ? o.rotate : preset == "strong" ? 15 : 0;
  // Black corners would tell photographs that were turned from those that were not.
  if (rotate > 0) list.push_back(transforms::rotation(rotate, {.border = small ? Border::constant : Border::reflect}));
  const bool color = preset == "standard" || preset == "strong";
  const double base = color || preset == "transfer" ? (preset == "strong" || preset == "transfer" ? 0.3 : 0.15) : 0.0;
  const auto pick = [&](double given, double standard) { return given > 0 ? given : standard; };
  const transforms::ColorJitterOptions jitter{.brightness = pick(o.brightness, base),
                                              .contrast = pick(o.contrast, base),
                                              .saturation = pick(o.saturation, color ? base : 0.0),
                                              .hue = pick(o.hue, color ? 0.02 : 0.0)};
  if (jitter.brightness + jitter.contrast + jitter.saturation + jitter.hue > 0)
    list.push_back(transforms::color_jitter(jitter));
  if (preset == "trivial") list.push_back(transforms::trivial_augment_wide());
  if (preset == "rand") list.push_back(transforms::rand_augment());
  if (o.blur > 0) list.push_back(transforms::gaussian_blur({0.1, 2.0}, o.blur));
  if (o.noise > 0) list.push_back(transforms::gaussian_noise({0, 10}, o.noise));
  const double erase = o.erase > 0 ? o.erase : preset == "strong" ? 0.25 : 0;
  if (erase > 0) list.push_back(transforms::random_erasing({.probability = erase}));
  return list;
}

std::vector<BatchTransformPtr> make_batch_transforms(const AugmentOptions& o) {
  std::vector<BatchTransformPtr> list;
  if (o.mixup > 0) list.push_back(transforms::mixup({.alpha = o.mixup}));
  if (o.cutmix > 0) list.push_back(transforms::cutmix({.alpha = o.cutmix}));
  if (list.size() == 2) list = {transforms::one_of(std::move(list))};
  return list;
}

}  // namespace fovea::tools
