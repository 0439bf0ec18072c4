#include "insight/trust.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "insight/rows_internal.h"

namespace fovea::insight {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
using nlohmann::ordered_json;

/// JSON has no infinity: null.
ordered_json number(double v) { return std::isfinite(v) ? ordered_json(v) : ordered_json(nullptr); }
double read_number(const ordered_json& v) { return v.is_null() ? kInfinity : v.get<double>(); }

}  // namespace

Trust Trust::fit(const Tensor& logits, const std::vector<std::int64_t>& labels, const TrustOptions& o) {
  Trust out;
  out.temperature = fit_temperature(logits, labels).value;
  out.conformal = o.conformal;
  out.set_threshold =
      ConformalPredictor(tempered_probabilities(logits, out.temperature), labels, o.conformal).threshold();
  out.energy_threshold = novelty_threshold(energy_scores(logits), o.false_alarms);
  out.pictures = logits.dim(0);
  out.classes = static_cast<int>(logits.dim(1));
  return out;
}

std::string Trust::to_json() const {
  ordered_json out{{"format", "fovea trust 1"},
                   {"classes", classes},
                   {"pictures", pictures},
                   {"temperature", temperature},
                   {"conformal",
                    {{"score", std::string(insight::to_string(conformal.score))},
                     {"coverage", conformal.coverage},
                     {"penalty", conformal.penalty},
                     {"free_classes", conformal.free_classes},
                     {"seed", conformal.seed},
                     {"threshold", number(set_threshold)}}},
                   {"energy_threshold", number(energy_threshold)}};
  if (!std::isnan(distance_threshold)) out["distance_threshold"] = number(distance_threshold);
  return out.dump(2) + "\n";
}

Trust Trust::from_json(std::string_view text, const std::string& where) {
  Trust out;
  try {
    const auto in = ordered_json::parse(text.begin(), text.end());
    if (in.at("format") != "fovea trust 1") throw Error(ErrorKind::format, where, "is no trust file");
    out.classes = in.at("classes").get<int>();
    out.pictures = in.at("pictures").get<std::int64_t>();
    out.temperature = in.at("temperature").get<double>();
    const auto& c = in.at("conformal");
    out.conformal.score = conformal_score_from_string(c.at("score").get<std::string>());
    out.conformal.coverage = c.at("coverage").get<double>();
    out.conformal.penalty = c.at("penalty").get<double>();
    out.conformal.free_classes = c.at("free_classes").get<int>();
    out.conformal.seed = c.at("seed").get<std::uint64_t>();
    out.set_threshold = read_number(c.at("threshold"));
    out.energy_threshold = read_number(in.at("energy_threshold"));
    if (in.contains("distance_threshold")) out.distance_threshold = read_number(in["distance_threshold"]);
    ConformalPredictor(out.set_threshold, out.conformal);
  } catch (const nlohmann::json::exception& e) {
    throw Error(ErrorKind::format, where, str("is no trust file: ", e.what()),
                "`fovea evaluate RUN DATA --calibrate FILE` writes one");
  } catch (const Error& e) {
    throw Error(ErrorKind::format, where, e.what(), "`fovea evaluate RUN DATA --calibrate FILE` writes one");
  }
  if (out.classes < 1 || !(out.temperature > 0) || !std::isfinite(out.temperature) || std::isnan(out.set_threshold))
    throw Error(ErrorKind::format, where, "has values out of range");
  return out;
}

std::string_view to_string(Answer answer) {
  return answer == Answer::sure ? "sure" : answer == Answer::ambiguous ? "ambiguous" : "strange";
}

std::vector<Verdict> judge(const Trust& trust, const Tensor& logits, std::int64_t first,
                           const std::vector<double>& distances) {
  check_rows(logits, nullptr, "judge");
  if (logits.dim(1) != trust.classes) {
    throw Error(ErrorKind::shape, "judge",
                str("calibrated for ", trust.classes, " classes, the logits are ", logits.to_string()));
  }
  const bool far = !std::isnan(trust.distance_threshold);
  if (distances.size() != (far ? static_cast<std::size_t>(logits.dim(0)) : 0)) {
    throw Error(ErrorKind::shape, "judge", str(logits.dim(0), " rows and ", distances.size(), " distances"),
                far ? "the calibration goes by distances of features" : "the calibration knows no distances");
  }
  const Tensor p = tempered_probabilities(logits, trust.temperature);
  std::vector<std::vector<int>> sets = ConformalPredictor(trust.set_threshold, trust.conformal).sets(p, first);
  const std::vector<double> energies = energy_scores(logits);
  std::vector<Verdict> out;
  const auto classes = static_cast<std::ptrdiff_t>(p.dim(1));
  const float* row = p.data<float>();
  for (std::size_t i = 0; i < sets.size(); ++i, row += classes) {
    Verdict v{{row, row + classes}, std::move(sets[i]), energies[i], {}, Answer::sure};
    v.distance = far ? distances[i] : std::numeric_limits<double>::quiet_NaN();
    if (v.set.size() > 1) v.answer = Answer::ambiguous;
    if (v.set.empty() || (far ? v.distance > trust.distance_threshold : v.energy > trust.energy_threshold))
      v.answer = Answer::strange;
    out.push_back(std::move(v));
  }
  return out;
}

}  // namespace fovea::insight
