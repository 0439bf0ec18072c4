// What a network's answers are worth, as a small file beside it: temperature, conformal threshold, novelty threshold.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "insight/calibration.h"
#include "insight/conformal.h"
#include "insight/novelty.h"

namespace fovea::insight {

struct TrustOptions {
  ConformalOptions conformal = {};
  double false_alarms = 0.02;  ///< share of ordinary pictures that may be called strange
};

struct FOVEA_API Trust {
  double temperature = 1;
  ConformalOptions conformal = {};
  double set_threshold = 0;     ///< of the conformal scores of tempered probabilities
  double energy_threshold = 0;  ///< energies beyond it are strange; infinite: none is
  /// Instead, where distances of features are known (MahalanobisScore): those beyond it are strange; NaN: energies
  /// decide.
  double distance_threshold = std::numeric_limits<double>::quiet_NaN();
  std::int64_t pictures = 0;  ///< it was calibrated on
  int classes = 0;

  /// Fits all three on logits [N, classes] of pictures that neither trained nor chose the network. The temperature is
  /// fitted on the same pictures as the threshold: one number cannot learn them by heart.
  static Trust fit(const Tensor& logits, const std::vector<std::int64_t>& labels, const TrustOptions& options = {});
  std::string to_json() const;
  /// Error{format} for anything else than to_json() writes.
  static Trust from_json(std::string_view text, const std::string& where = "trust");
};

enum class Answer : std::uint8_t {
  sure,       ///< the set holds one class
  ambiguous,  ///< several
  strange,    ///< none, or unlike what the network was calibrated on
};
FOVEA_API std::string_view to_string(Answer answer);

struct Verdict {
  std::vector<float> probabilities;  ///< tempered
  std::vector<int> set;              ///< likeliest first
  double energy = 0;
  double distance = std::numeric_limits<double>::quiet_NaN();  ///< where it was given
  Answer answer = Answer::sure;
};
/// One per row of logits. @param distances of the rows' features where the trust has a threshold for them, else empty.
/// Error{shape} unless they have as many classes as the calibration, and as many distances as rows.
FOVEA_API std::vector<Verdict> judge(const Trust& trust, const Tensor& logits, std::int64_t first = 0,
                                     const std::vector<double>& distances = {});

}  // namespace fovea::insight
