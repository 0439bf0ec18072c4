// Pretrained weights as they lie on disk, in whatever format and naming their framework wrote, as a model that gives
// that framework's outputs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/model.h"

namespace fovea {

/// What becomes of a weight file's classifier.
enum class Head : std::uint8_t {
  keep,
  replace,  ///< a new one for LoadOptions::classes, drawn by LoadOptions::seed
  remove,   ///< the model ends with pooled features [N, C]
};

namespace weights {
struct WeightFile;
}

namespace models {

struct LoadOptions {
  std::string model = "auto";  ///< a zoo name in any spelling, or auto: told from the tensors' names and shapes
  std::optional<Layout> layout = std::nullopt;  ///< default: told from the names
  double width = 0;                             ///< 0: told from the shapes
  int image_size = 0;                           ///< 0: what the file says, else the architecture's own
  int classes = 0;  ///< 0: the file's. With Head::keep another number than the file's is an error
  Head head = Head::keep;
  std::uint64_t seed = 0;
  std::string variant = {};  ///< Options::variant, where the file does not tell
};

/// Reads a model file of ours (with its op list) or a weight file of another framework (models/weights/weight_file.h
/// lists the formats). Strict: Error{format} names every missing, unexpected and misshapen tensor and says which
/// architecture and layout come nearest. Preprocessing, epsilon and padding follow the source's conventions
/// (docs/weights.md) and are stored with the model.
FOVEA_API Model load(const std::string& path, const LoadOptions& options = {});
/// The same from tensors that are in memory or given by a formula.
FOVEA_API Model load(const weights::WeightFile& file, const LoadOptions& options = {});

/// What a weight file was taken for.
struct Recognition {
  std::string architecture;
  Options options;                                          ///< resolved: layout, width, classes, top
  std::string prefix;                                       ///< in front of every name in the file: "module/"
  std::vector<std::string> missing, unexpected, misshapen;  ///< all empty: it fits
  bool fits() const { return missing.empty() && unexpected.empty() && misshapen.empty(); }
};
/// The architecture that fits, or the nearest. Error{format} where no name is known.
FOVEA_API Recognition recognize(const weights::WeightFile& file, const LoadOptions& options = {});

/// A layer's name in another framework and its place here: what `fovea run --activations` reports by.
struct SourceName {
  std::string module, source;
  bool has_tensors = false;  ///< a convolution, norm or dense layer itself, without an activation fused behind it
};
/// Empty for layouts the model's architecture does not have.
FOVEA_API std::vector<SourceName> source_names(const Model& model, Layout layout);

/// The model's weights in another framework's names and axis order, ready for write_safetensors(). Error{usage} for a
/// network of one's own, or for a layout that its architecture does not have, naming those it has.
FOVEA_API std::vector<std::pair<std::string, Tensor>> export_weights(const Model& model, Layout layout);

}  // namespace models
}  // namespace fovea
