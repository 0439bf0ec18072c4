#include "tools/train_private.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tools/report.h"

namespace fovea::tools {

void add_private_options(CLI::App& c, TrainOptions& o) {
  const std::string group = "Privacy";
  c.add_flag("--private", o.is_private,
             "Differentially private: the model tells hardly more about a picture than if it had not been there. Needs "
             "--sigma or --epsilon")
      ->group(group);
  c.add_option("--epsilon", o.privacy.epsilon, "What the whole training may cost (1 to 10); the noise is found")
      ->check(CLI::PositiveNumber)
      ->group(group);
  c.add_option("--sigma", o.privacy.noise, "Noise multiplier, instead of --epsilon")
      ->check(CLI::PositiveNumber)
      ->group(group);
  c.add_option("--delta", o.privacy.delta, "Probability of more (default: the power of ten below 1/pictures)")
      ->check(CLI::Range(1e-12, 0.5))
      ->group(group);
  c.add_option("--clip", o.privacy.clip, "Largest norm of one picture's gradient (default 0.1)")
      ->check(CLI::PositiveNumber)
      ->group(group);
  c.add_option("--noise-seed", o.noise_seed,
               "Noise that can be repeated, and taken off again by whoever knows the number: for studies only")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
}

void check_private_options(const TrainOptions& o) {
  if (!o.is_private) {
    const char* alone = o.privacy.epsilon > 0 ? "--epsilon"
                        : o.privacy.noise > 0 ? "--sigma"
                        : o.privacy.delta > 0 ? "--delta"
                        : o.privacy.clip > 0  ? "--clip"
                        : o.noise_seed >= 0   ? "--noise-seed"
                                              : nullptr;
    if (alone) throw Error(ErrorKind::usage, alone, "is for private training", "add --private");
    return;
  }
  if ((o.privacy.epsilon > 0) == (o.privacy.noise > 0))
    throw Error(ErrorKind::usage, "--private", "needs either --epsilon or --sigma",
                "such as --epsilon 3: small is private, large is accurate");
  if (o.find_lr)
    throw Error(ErrorKind::usage, "--find-lr", "reads the pictures without noise", "leave it out with --private");
  if (o.linear_probe)
    throw Error(ErrorKind::usage, "--linear-probe", "is fitted without noise",
                "with --private and --weights the classifier alone learns by default, privately");
  if (o.train_bn)
    throw Error(ErrorKind::usage, "--train-bn", "would use the statistics of batches", "leave it out with --private");
  if (!o.preset.empty()) throw Error(ErrorKind::usage, "--preset", "is for training that is not private");
}

void apply_private_preset(TrainOptions& o, const TrainData& data) {
  const std::int64_t pictures = data.train->size();
  const bool pretrained = !o.weights.empty();
  if (o.model.empty() && !pretrained) o.model = "private_cnn";
  // Large batches and many epochs: for one ε the noise in a mean of n gradients falls nearly as 1/n, while the number
  // of steps that it allows falls only as its root.
  if (o.batch_size == 0) {
    const std::int64_t part = std::max<std::int64_t>(1, pictures / 30);
    o.batch_size = static_cast<int>(std::min<std::int64_t>(pictures, std::clamp<std::int64_t>(part, 32, 2048)));
  }
  if (o.epochs == 0) o.epochs = 40;
  if (o.optimizer.empty()) o.optimizer = "sgd";
  // Gradients are nearly all clipped: their sum has the length of the clip, and the rate goes with it.
  if (o.privacy.clip == 0) o.privacy.clip = 0.1;
  if (o.lr == 0) o.lr = o.optimizer == "sgd" ? 0.4 / o.privacy.clip : 2e-3;
  if (o.weight_decay < 0) o.weight_decay = 0;
  if (o.label_smoothing < 0) o.label_smoothing = 0;
  if (o.schedule.empty()) o.schedule = "constant";
  if (o.ema < 0) o.ema = 0.98;
  if (o.augment.preset.empty()) o.augment.preset = "none";
  if (o.unfreeze.empty() && pretrained) o.unfreeze = "none";
}

PrivacyOptions private_options(const TrainOptions& o) {
  PrivacyOptions p = o.privacy;
  if (o.noise_seed >= 0) p.seed = static_cast<std::uint64_t>(o.noise_seed);
  return p;
}

std::string describe_epsilon(double epsilon, double delta) {
  return str("ε = ", number(epsilon, "%.3g"), " at δ = ", number(delta, "%.3g"));
}

std::string to_json(const PrivacyReport& r) {
  return nlohmann::ordered_json{{"epsilon", r.epsilon},
                                {"delta", r.delta},
                                {"noise", r.noise},
                                {"clip", r.clip},
                                {"sampling_rate", r.sampling_rate},
                                {"steps", r.steps},
                                {"order", r.order},
                                {"accountant", "rdp"},
                                {"neighbours", "add or remove one picture"},
                                {"noise_is_secret", r.secret}}
      .dump();
}

}  // namespace fovea::tools
