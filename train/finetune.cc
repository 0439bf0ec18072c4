#include "train/finetune.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "models/transfer.h"

namespace fovea {
namespace {

void freeze_norms(Module& module) {
  if (module.kind() == "BatchNorm") module.freeze();
  for (const auto& [name, child] : module.children()) freeze_norms(*child);
}

}  // namespace

std::vector<LearningRateScale> begin_finetuning(Model& model, const FinetuneOptions& options) {
  if (!(options.lr_decay > 0 && options.lr_decay <= 1))
    throw Error(ErrorKind::usage, "fine-tuning", str("lr_decay is ", options.lr_decay), "above 0, at most 1");
  const std::vector<std::string> stages = stage_names(model);
  std::size_t first = 0;  // of the stages that learn
  if (options.unfreeze == "none") {
    first = stages.size() - 1;
  } else if (options.unfreeze != "all") {
    const auto at = std::find(stages.begin(), stages.end(), options.unfreeze);
    if (at == stages.end()) {
      std::string known;
      for (const std::string& stage : stages) known += str(known.empty() ? "" : ", ", stage);
      throw Error(ErrorKind::usage, "fine-tuning", str("the network has no stage '", options.unfreeze, "'"),
                  str("all, none, or one of: ", known));
    }
    first = static_cast<std::size_t>(at - stages.begin());
  }
  std::vector<LearningRateScale> scales;
  double scale = 1;
  model.freeze();
  for (std::size_t i = stages.size(); i-- > 0;) {
    Module& stage = *model.network().children()[i].second;
    if (stage.parameters().empty()) continue;  // pooling, dropout, rescaling
    scales.insert(scales.begin(), {stages[i], scale});
    // The classifier and the stage before it learn at the full rate.
    if (i + 1 < stages.size()) scale *= options.lr_decay;
    if (i >= first) stage.unfreeze();
  }
  if (!options.train_norm) freeze_norms(model.network());
  return scales;
}

}  // namespace fovea
