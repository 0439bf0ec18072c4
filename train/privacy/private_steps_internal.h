// What makes the trainer's steps private: samples, clipped gradients, noise, account. Internal to train.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "augment/loader.h"
#include "train/privacy/accountant.h"
#include "train/privacy/privacy.h"
#include "train/trainer.h"

namespace fovea {

class PrivateSteps {
 public:
  /// Error{usage} for options that would break the promise (each says what to do), and for a network in which pictures
  /// of a batch depend on each other.
  PrivateSteps(const TrainerOptions& options, const Model& model, const Dataset& train, bool validates);

  LoaderOptions loading(LoaderOptions usual) const;
  /// Calls `losses` for parts of the batch (it returns one loss for each picture) and adds the clipped gradients up.
  /// Returns the sum of the losses.
  double add_gradients(const Batch& batch, const std::function<Tensor(const Batch& part, std::int64_t index)>& losses);
  /// Noise, and the division by the expected size: afterwards grad() is what an optimizer may see.
  void finish(const std::vector<NamedTensor>& parameters, std::int64_t step);

  PrivacyReport report(std::int64_t steps) const;
  double epsilon(std::int64_t steps) const { return report(steps).epsilon; }
  /// All that ε depends on, for telling whether a run that resumes is the same.
  std::string describe() const;

 private:
  void add_noise(Tensor grad, const std::string& name, std::int64_t step) const;

  PrivacyOptions options_;
  double rate_ = 0, expected_ = 0;
  std::int64_t batches_ = 0, chunk_ = 1;
  RdpAccountant one_step_;
};

/// Uniform bits of the operating system (getrandom). Error{device} where it has none.
std::vector<std::uint64_t> system_random(std::size_t count);

}  // namespace fovea
