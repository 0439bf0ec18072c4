#include "tools/strangeness.h"

#include <cmath>
#include <filesystem>

#include "core/error.h"
#include "tools/answering.h"
#include "tools/run_record.h"
#include "train/linear_probe.h"

namespace fovea::tools {
namespace {

/// By its name and nothing else: what a trust file says must not make a program open files.
std::string beside(const std::string& trust_file) { return trust_file + ".safetensors"; }

Model open_features(const ModelSource& source) {
  if (is_compiled(source)) {
    throw Error(ErrorKind::usage, source.path, "is a compiled network, whose features cannot be looked at",
                "name the run folder it was compiled from");
  }
  return open_model(source);
}

FeatureOptions computing(const CancelToken* cancel) {
  FeatureOptions o;
  o.cache = false;
  o.cancel = cancel;
  return o;
}

}  // namespace

bool by_features(const insight::Trust& trust) { return !std::isnan(trust.distance_threshold); }

FeatureDistance::FeatureDistance(Model model, insight::MahalanobisScore score)
    : model_(std::move(model)), features_(feature_extractor(model_)), score_(std::move(score)) {}

FeatureDistance::FeatureDistance(const ModelSource& source, const std::string& trust_file)
    : FeatureDistance(open_features(source), insight::MahalanobisScore::load(beside(trust_file))) {
  const image::Preprocessing& p = model_.preprocessing;
  const std::int64_t width = features_(Tensor({1, p.height, p.width, p.channels})).dim(1);
  if (width != score_.width()) {
    throw Error(ErrorKind::shape, beside(trust_file),
                str("is about ", score_.width(), " features, the network has ", width),
                "it belongs to another network");
  }
}

FeatureDistance FeatureDistance::fit(const std::string& run, const CancelToken* cancel) {
  ModelSource source;
  source.path = run;
  Model model = open_features(source);
  const std::optional<RunRecord> record = std::filesystem::is_directory(run) ? read_run_record(run) : std::nullopt;
  if (!record)
    throw Error(ErrorKind::usage, run, "does not say which pictures it was trained on",
                "--strangeness energy needs none");
  const DatasetPtr train = open_data(record->options).train;
  const Features f = compute_features(model, train, computing(cancel));
  insight::MahalanobisScore score(f.values, f.labels, static_cast<int>(train->num_classes()));
  return {std::move(model), std::move(score)};
}

void FeatureDistance::save(const std::string& trust_file) const { score_.save(beside(trust_file)); }

std::vector<double> FeatureDistance::of(const Tensor& images) const { return score_(features_(images)); }

std::vector<double> FeatureDistance::of(const DatasetPtr& data, const CancelToken* cancel) const {
  return score_(compute_features(model_, data, computing(cancel)).values);
}

}  // namespace fovea::tools
