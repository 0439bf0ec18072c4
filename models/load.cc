#include "models/load.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "core/error.h"
#include "layers/init.h"
#include "layers/modules.h"
#include "models/graph_module.h"
#include "models/imagenet_classes.h"
#include "models/transfer.h"
#include "models/weights/recognize.h"

namespace fovea::models {
namespace {

std::string listing(std::string_view what, const std::vector<std::string>& names) {
  if (names.empty()) return {};
  std::string out = str("\n  ", what, " (", names.size(), "):");
  for (const std::string& name : names) out += "\n    " + name;
  return out;
}

[[noreturn]] void misfit(const weights::WeightFile& file, const Match& m, const LoadOptions& asked) {
  const std::string hint = asked.layout || asked.model != "auto"
                               ? "leave out --model and --layout to have both told from the file"
                               : "give --model, --layout or --width if that is not what it is";
  throw Error(ErrorKind::format, file.path,
              str("comes nearest to ", m.architecture->name, " (width ", m.options.width, ", ", m.options.classes,
                  " classes) in the layout ", to_string(*m.options.layout),
                  ", but its tensors do not fit:", listing("missing", m.missing), listing("unexpected", m.unexpected),
                  listing("misshapen", m.misshapen), "\n"),
              hint);
}

/// What a Keras model does to its input before the zoo's network (models/weights/keras_frame.h), of a model file; null
/// if there is nothing.
ModulePtr preprocessing_stage(const Model& stored) {
  const OpList whole = stored.capture();
  OpList part;
  std::map<int, int> moved;
  const auto value = [&](int old) {
    if (old < 0) return old;
    const auto [at, fresh] = moved.try_emplace(old, static_cast<int>(part.values.size()));
    if (fresh) {
      part.values.push_back(whole.values[static_cast<std::size_t>(old)]);
      std::string& name = part.values.back().name;
      name = name.substr(name.rfind('.') + 1);
    }
    return at->second;
  };
  for (const int input : whole.inputs) part.inputs.push_back(value(input));
  for (OpList::Node node : whole.nodes) {
    if (node.scope != kPreprocessingStage) continue;
    for (int& v : node.inputs) v = value(v);
    for (int& v : node.outputs) v = value(v);
    part.outputs = {node.outputs.front()};
    node.scope.clear();
    part.nodes.push_back(std::move(node));
  }
  if (part.nodes.empty()) return nullptr;
  return std::make_shared<GraphModule>(std::move(part), std::map<std::string, ParameterRole>());
}

/// A model file's network built anew by the zoo, with the file's weights: for another head or input size.
Model rebuilt(const Model& stored, const LoadOptions& asked, const std::string& path) {
  const Architecture* a = find_architecture(stored.architecture);
  if (!a) {
    throw Error(ErrorKind::usage, path,
                "holds a network that is not of the zoo: its head and input size cannot be changed",
                "load it as it is");
  }
  Options o = stored.options;
  if (asked.image_size > 0) o.image_size = asked.image_size;
  if (asked.head == Head::remove && o.top == Top::classifier) o.top = Top::pooled;
  if (asked.head == Head::replace) {
    o.top = Top::classifier;
    if (asked.classes > 0) o.classes = asked.classes;
  }
  Model model;
  {
    const ParameterMode mode(ParameterMode::Kind::uninitialized);
    model = build(*a, resolve(a->name, o).options);
  }
  std::unordered_map<std::string, Tensor> values;
  for (const NamedTensor& t : stored.network().named_tensors()) values.emplace(t.name, t.tensor);
  for (const NamedTensor& t : model.network().named_tensors()) {
    if (t.name.starts_with("classifier.") && asked.head == Head::replace) continue;
    const auto at = values.find(t.name);
    if (at == values.end() || at->second.shape() != t.tensor.shape())
      throw Error(ErrorKind::usage, path, str("its network differs from the zoo's ", a->name, " in ", t.name),
                  "its head and input size cannot be changed");
    Tensor target = t.tensor;
    target.copy_from(at->second.to(t.tensor.dtype()));
  }
  if (asked.head == Head::replace) {
    initialize_head(model, asked.seed);
  } else {
    model.class_names = o.top == Top::classifier ? stored.class_names : std::vector<std::string>();
  }
  const image::Preprocessing fresh = model.preprocessing;
  if (ModulePtr before = preprocessing_stage(stored)) {
    auto net = std::make_shared<Sequential>();
    net->add(kPreprocessingStage, std::move(before));
    for (const auto& [name, module] : model.network().children()) net->add(name, module);
    Model whole(ModulePtr(std::move(net)));
    whole.architecture = model.architecture;
    whole.options = model.options;
    whole.class_names = model.class_names;
    model = std::move(whole);
  }
  model.preprocessing = stored.preprocessing;
  if (asked.image_size > 0) {
    model.preprocessing.width = fresh.width;
    model.preprocessing.height = fresh.height;
    model.preprocessing.resize_size = fresh.resize_size;
  }
  return model;
}

}  // namespace

Model load(const weights::WeightFile& file, const LoadOptions& asked) {
  Match m = find_match(file, asked);
  if (!m.fits()) misfit(file, m, asked);
  Options o = m.options;
  if (asked.image_size > 0) o.image_size = asked.image_size;
  const bool had_classifier = o.top == Top::classifier;
  if (asked.head == Head::remove) {
    if (had_classifier) o.top = Top::pooled;
  } else if (asked.head == Head::replace) {
    o.top = Top::classifier;
    if (asked.classes > 0) o.classes = asked.classes;
  } else if (asked.classes > 0 && had_classifier && asked.classes != o.classes) {
    throw Error(ErrorKind::usage, file.path, str("has ", o.classes, " classes, not ", asked.classes),
                "to train it for other classes, replace its head");
  }
  o.seed = asked.seed;
  // A Keras model's own head is built as its config says, but for the zoo's where that is not dense layers behind a
  // pooling (MobileNetV1's and V3's are convolutions).
  const bool own_head = m.frame && asked.head == Head::keep && (m.frame->classes > 0 || o.top == Top::pooled);
  if (m.frame && asked.image_size == 0 && m.frame->graph.height > 0) o.image_size = m.frame->graph.height;
  Model model;
  {
    const ParameterMode mode(ParameterMode::Kind::uninitialized);
    Options inside = resolve(m.architecture->name, o).options;
    if (own_head) inside.top = Top::none;
    model = build(*m.architecture, inside);
  }
  std::unordered_map<std::string, Tensor> ours;
  for (const NamedTensor& t : model.network().named_tensors()) ours.emplace(t.name, t.tensor);
  const bool fresh_head = asked.head == Head::replace;
  for (const MatchedTensor& matched : m.tensors) {
    if (matched.pair.ours.starts_with("classifier.") && (fresh_head || o.top != Top::classifier)) continue;
    const auto at = ours.find(matched.pair.ours);
    if (at == ours.end()) continue;
    to_ours(matched.tensor->read(), at->second, matched.pair, *o.layout);
    ours.erase(at);
  }
  // What the file does not give must be a new head, or constants of the architecture. A network cut off before its
  // pooling has nothing for MobileNetV3's layer behind it either.
  const bool fresh_hidden = fresh_head && ours.contains("hidden.weight");
  for (const NamedTensor& t : model.network().named_tensors()) {
    if (!ours.contains(t.name) || t.is_buffer) continue;
    const bool fresh = t.name.starts_with("classifier.") || (fresh_hidden && t.name.starts_with("hidden."));
    if (!fresh_head || !fresh) throw Error(ErrorKind::format, file.path, str("gives no value for ", t.name));
  }
  for (const auto& [name, child] : model.network().children()) {
    if (fresh_hidden && name == "hidden") child->initialize(asked.seed);
  }
  if (fresh_head) initialize_head(model, asked.seed);
  if (m.frame) {
    model = framed(model, *m.frame, own_head);
    model.options.top = o.top;
    if (asked.image_size == 0 && m.frame->graph.height > 0 && m.frame->graph.width > 0) {
      model.preprocessing.height = m.frame->graph.height;
      model.preprocessing.width = m.frame->graph.width;
    }
  }
  // No framework's weight files name ImageNet's classes.
  const bool imagenet_sized = o.classes == 1000 || o.classes == 1001;
  if (!fresh_head && o.top == Top::classifier && imagenet_sized) model.class_names = imagenet_class_names(o.classes);
  return model;
}

Model load(const std::string& path, const LoadOptions& asked) {
  const weights::WeightFile file = weights::read_weight_file(path);
  if (file.find_metadata("fovea.ops")) {
    Model model = load_model(path);
    if (asked.head == Head::keep && asked.image_size == 0) return model;
    return rebuilt(model, asked, path);
  }
  return load(file, asked);
}

std::vector<SourceName> source_names(const Model& model, Layout layout) {
  const Architecture* a = find_architecture(model.architecture);
  if (!a || !a->layer_names) return {};
  std::vector<SourceName> out;
  for (LayerName& layer : a->layer_names(*a, model.options, layout).layers) {
    const bool tensors = layer.kind != LayerKind::plain;
    out.push_back({std::move(layer.module), std::move(layer.source), tensors});
  }
  return out;
}

std::vector<std::pair<std::string, Tensor>> export_weights(const Model& model, Layout layout) {
  const Architecture* a = find_architecture(model.architecture);
  if (!a || !a->layer_names || std::find(a->layouts.begin(), a->layouts.end(), layout) == a->layouts.end()) {
    const bool elsewhere = a && a->layer_names;
    throw Error(
        ErrorKind::usage, "export",
        str(model.architecture.empty() ? "a network of one's own" : model.architecture, " has no names in the layout ",
            to_string(layout), elsewhere ? "; it has: " + layout_list(*a) : "; it is in no other framework"),
        "its names here are the layout fovea");
  }
  std::vector<std::pair<std::string, Tensor>> out;
  std::map<std::string, Tensor> ours;
  for (const NamedTensor& t : model.network().named_tensors()) ours.emplace(t.name, t.tensor);
  for (const TensorPair& pair : tensor_pairs(a->layer_names(*a, model.options, layout), layout)) {
    const auto at = ours.find(pair.ours);
    if (at != ours.end()) out.emplace_back(pair.theirs.front(), to_theirs(at->second, pair, layout));
  }
  return out;
}

}  // namespace fovea::models
