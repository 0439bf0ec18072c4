#include "models/weights/keras_frame.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "layers/modules.h"
#include "models/weights/keras_stages.h"

namespace fovea::models {
namespace {

using nlohmann::json;
using weights::FileTensor;
using weights::WeightFile;

/// Modules that belong to a network of the zoo although they prepare its input: EfficientNet's and MobileNetV3's.
bool prepares(std::string_view child) { return child.starts_with("rescaling") || child == "normalization"; }

}  // namespace

const FileTensor* KerasFrame::find(std::size_t node, std::string_view variable) const {
  for (const Owned& o : frame) {
    if (o.node == node && o.variable == variable) return o.tensor;
  }
  return nullptr;
}

std::shared_ptr<const KerasFrame> keras_frame(const WeightFile& file, bool normalizes) {
  const std::string* config = file.find_metadata("keras.config");
  if (!config) return nullptr;
  auto out = std::make_shared<KerasFrame>();
  out->graph = keras_graph(weights::keras_model(*config, file.path), file.path);
  const KerasGraph& graph = out->graph;
  std::set<std::size_t> outside;
  if (graph.has_dense) outside.insert(graph.behind.begin(), graph.behind.end());
  bool others = false;
  for (std::size_t i = graph.before.size(); i-- > 0;) {
    if (graph.nodes[graph.before[i]].class_name != "Normalization") continue;
    if (!normalizes || others) outside.insert(graph.before[i]);
    others = true;
  }
  out->network.path = file.path;
  out->network.format = file.format;
  out->network.metadata = file.metadata;
  for (const FileTensor& t : file.tensors) {
    const auto owner = graph.owner(t.name);
    if (owner && outside.contains(owner->first)) {
      out->frame.push_back({owner->first, owner->second, &t});
      continue;
    }
    FileTensor inner = t;
    if (owner) inner.name = graph.nodes[owner->first].name + "/" + owner->second;
    out->network.tensors.push_back(std::move(inner));
  }
  for (const std::size_t i : graph.behind) {
    if (const FileTensor* kernel = out->find(i, "kernel"); kernel && kernel->shape.rank() == 2)
      out->classes = static_cast<int>(std::min<std::int64_t>(kernel->shape[1], 1 << 24));
  }
  return out;
}

Model framed(const Model& inside, const KerasFrame& frame, bool with_head) {
  const KerasGraph& graph = frame.graph;
  auto net = std::make_shared<Sequential>();
  std::set<std::string> taken;
  std::size_t own = 0;
  for (const auto& [name, module] : inside.network().children()) {
    own += prepares(name);
    taken.insert(name);
  }
  if (own > graph.before.size()) {
    throw Error(ErrorKind::format, frame.network.path,
                str("its graph lacks the rescaling that ", inside.architecture, " begins with in Keras"));
  }
  std::vector<std::size_t> before(graph.before.begin(), graph.before.end() - static_cast<std::ptrdiff_t>(own));
  const InputTransform transform = input_transform(frame, before);
  if (ModulePtr module = transform.module(inside.preprocessing.channels))
    net->add(kPreprocessingStage, std::move(module));
  for (const auto& [name, module] : inside.network().children()) net->add(name, module);
  if (with_head) add_stages(*net, frame, std::move(taken));
  Model out(ModulePtr(std::move(net)));
  out.architecture = inside.architecture;
  out.options = inside.options;
  out.preprocessing = inside.preprocessing;
  out.class_names = inside.class_names;
  if (!transform.nothing()) {  // the network takes pixels as they are
    out.preprocessing.scale = 1;
    out.preprocessing.mean = {0, 0, 0};
    out.preprocessing.std = {1, 1, 1};
    out.preprocessing.order = image::ChannelOrder::rgb;
  }
  return out;
}

}  // namespace fovea::models
