// What can be done about classes with few pictures: weights, repetition, changed and synthetic pictures, written as a
// manifest that training reads. The originals are only read.
//
//   insight::MitigationOptions options;
//   const auto plan = insight::plan_mitigation(class_names, counts, options);
//   insight::write_mitigation("even", {{"train", train}, {"val", val}}, plan, options);   // fovea train
//   even/manifest.csv
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "augment/dataset.h"
#include "core/rng.h"
#include "train/cancel.h"

namespace fovea::insight {

enum class Mitigation : std::uint8_t {
  weights,     ///< a column `weight`: a mistake on a rare class counts for more
  oversample,  ///< rows are repeated
  augment,     ///< a picture of the class, turned, moved, scaled, brighter or darker; never mirrored, which may change
               ///< what it shows
  mixup,       ///< two pictures of the class, blended (Zhang et al. 2018, within a class: the label stays)
  paste,       ///< an oval of one picture of the class in another one, with soft edges
  style,  ///< a picture of the class with the brightness, contrast and colours of one of another class (Reinhard et
          ///< al. 2001, in OKLab), so that these tell the class no longer
};
/// "weights", "oversample", "augment", "mixup", "paste", "style".
FOVEA_API std::string_view to_string(Mitigation kind);
/// Error{usage} naming them.
FOVEA_API Mitigation mitigation_from_string(std::string_view name);

struct MitigationOptions {
  std::vector<Mitigation> kinds = {Mitigation::oversample, Mitigation::augment, Mitigation::mixup, Mitigation::paste,
                                   Mitigation::style};
  double share = 0.5;  ///< classes are brought up to this share of the largest, 0 to 1
  double most = 5;  ///< synthetic pictures for each real one of a class; what is missing beyond is repeated. 0 to 100
  std::uint64_t seed = 1;
  const CancelToken* cancel = nullptr;  ///< not owned; Error{cancelled} when it fires
  std::function<void(std::int64_t done, std::int64_t total)> on_progress = {};
};

/// What happens to one class.
struct ClassMitigation {
  std::string name;
  std::int64_t real = 0, synthetic = 0, repeated = 0;
  double weight = 1;  ///< n / (classes · pictures of this class, all counted), where weights are asked for
};

/// @param counts training pictures by class. Error{usage} for options out of range or no pictures at all.
FOVEA_API std::vector<ClassMitigation> plan_mitigation(const std::vector<std::string>& class_names,
                                                       const std::vector<std::int64_t>& counts,
                                                       const MitigationOptions& options = {});

/// Writes `folder`/synthetic/CLASS/…, in the file type of the pictures they are made of, `folder`/provenance.csv (path,
/// label, how, source, other, parameters, sha256) and, last, `folder`/manifest.csv (path, label, group, split, weight,
/// origin: original, repeated or synthetic) with the rows of all parts. Only pictures of the part "train" are made
/// others of. Results depend on the seed only. Error{usage} where pictures lie in no files of their own, there is no
/// part "train", or the folder holds a manifest already.
FOVEA_API void write_mitigation(const std::string& folder, const std::vector<std::pair<std::string, DatasetPtr>>& parts,
                                const std::vector<ClassMitigation>& plan, const MitigationOptions& options = {});

/// One synthetic picture of the size of `picture`. `other`: of the same class for mixup and paste, of another for
/// style; unused for augment. Parameters drawn are told. Error{usage} for a kind that makes no pictures.
FOVEA_API image::Image synthesize(Mitigation kind, const image::Image& picture, const image::Image& other, Rng& rng,
                                  std::string* parameters = nullptr);

}  // namespace fovea::insight
