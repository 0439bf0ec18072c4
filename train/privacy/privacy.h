// Differentially private training as an option of the trainer.
#pragma once

#include <cstdint>
#include <optional>

#include "core/export.h"

namespace fovea {

/// DP-SGD (Abadi et al. 2016): every step draws each picture with probability batch_size/pictures, clips every
/// picture's gradient to the norm `clip`, adds Gaussian noise of standard deviation noise·clip to their sum, and
/// divides by batch_size. Any optimizer, schedule or average of weights may follow: they see nothing but that.
struct PrivacyOptions {
  double clip = 1;
  double noise = 0;    ///< multiplier; 0: found so that the whole training stays within `epsilon`
  double epsilon = 0;  ///< of the whole training; exactly one of noise and epsilon is given
  double delta = 0;    ///< below 1/pictures; 0: the largest power of ten below that
  /// Pictures per pass, 1 to 65536: memory grows with it, results do not depend on it but for rounding. 0: at most 64,
  /// and so few that their gradients take at most 256 MB.
  std::int64_t chunk = 0;
  /// Seed of samples and noise. Without one they come from the operating system's random numbers, and no two runs are
  /// alike. With one, runs can be repeated, and whoever knows it can take the noise off again: for tests and studies.
  std::optional<std::uint64_t> seed = std::nullopt;
};

/// What a private training has cost.
struct PrivacyReport {
  double epsilon = 0, delta = 0;
  double noise = 0, clip = 0, sampling_rate = 0;
  std::int64_t steps = 0;
  double order = 0;     ///< of the tightest Rényi bound
  bool secret = false;  ///< noise came from the operating system, not from a seed
};

}  // namespace fovea
