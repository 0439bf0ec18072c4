// Keras 3's .weights.h5: groups are named by class and counted ("layers/conv2d_7/vars/0"). What they are called in the
// model, its config says; from Keras 3.10 on so does the file itself.
#include <algorithm>
#include <iterator>
#include <limits>
#include <map>
#include <set>

#include "core/error.h"
#include "models/weights/keras_h5_internal.h"
#include "models/weights/keras_names.h"

namespace fovea::weights::keras {
namespace {

using hdf5::File;

/// A group below which variables are.
struct Node {
  std::string name;                                              ///< of the group: "conv2d_7"
  std::string layer;                                             ///< of the layer, where the file says it
  std::vector<std::pair<std::size_t, std::uint64_t>> variables;  ///< number and address, in order
  std::vector<Node> children;
  std::uint64_t last = 0;  ///< the highest address of an object in here
};

class Tree {
 public:
  explicit Tree(File& file) : file_(file) {}

  Node read(std::uint64_t group, const std::string& name, int depth = 0) {
    if (depth > kMaxDepth) damaged("its groups are nested too deep");
    if (!seen_.insert(group).second) damaged("one of its groups occurs in two places");
    Node node;
    node.name = name;
    node.last = group;
    for (const auto& [member, link] : file_.group(group).links) {
      if (link.kind != hdf5::LinkKind::hard) continue;  // Keras writes none
      // State that is no weight: of the optimizer, of metrics, and of generators of random numbers.
      if (depth == 0 && (member == "optimizer" || member == "metrics" || member == "compile_metrics")) continue;
      if (member == "seed_generator") continue;
      if (file_.is_dataset(link.address)) continue;  // variables are in groups "vars"
      if (member == "vars") {
        add_variables(link.address, node);
      } else {
        node.children.push_back(read(link.address, member, depth + 1));
        node.last = std::max(node.last, node.children.back().last);
      }
    }
    order(node.children);
    return node;
  }

 private:
  static constexpr int kMaxDepth = 64;

  [[noreturn]] void damaged(const std::string& what) const {
    throw Error(ErrorKind::format, file_.where(), str("not a Keras 3 weights file: ", what));
  }

  void add_variables(std::uint64_t group, Node& node) {
    node.layer = text(file_, file_.attributes(group), "name").value_or("");
    node.last = std::max(node.last, group);
    for (const auto& [member, link] : file_.group(group).links) {
      const bool number = member.size() <= 9 && member.find_first_not_of("0123456789") == member.npos;
      if (!number || link.kind != hdf5::LinkKind::hard || !file_.is_dataset(link.address)) continue;
      node.variables.emplace_back(std::stoul(member), link.address);
      node.last = std::max(node.last, link.address);
    }
    std::sort(node.variables.begin(), node.variables.end());
  }

  /// Brings groups into the order in which they were made, as far as one can tell. Those of one class are numbered in
  /// that order; across classes, what was made later lies later in the file, mostly: space that became free may be
  /// used again. So a group's place is that of the last object in it, and never before its forerunner's.
  static void order(std::vector<Node>& nodes) {
    std::map<std::string, std::vector<std::pair<std::size_t, std::size_t>>> classes;  // number and index
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const auto [name, number] = keras_counter(nodes[i].name);
      classes[name].emplace_back(number, i);
    }
    std::vector<std::pair<std::uint64_t, std::size_t>> keys;
    for (auto& [name, members] : classes) {
      std::sort(members.begin(), members.end());
      std::uint64_t latest = 0;
      for (const auto& [number, i] : members) {
        latest = std::max(latest, nodes[i].last);
        keys.emplace_back(latest, i);
      }
    }
    std::stable_sort(keys.begin(), keys.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<Node> sorted;
    sorted.reserve(nodes.size());
    for (const auto& key : keys) sorted.push_back(std::move(nodes[key.second]));
    nodes = std::move(sorted);
  }

  File& file_;
  std::set<std::uint64_t> seen_;
};

/// A layer of the tree, found by its path.
struct Leaf {
  std::string path;    ///< "layers/conv2d_7"
  std::string models;  ///< names of the models around it, where the file says them
  const Node* node;
};

void collect(const Node& node, const std::string& path, const std::string& models, std::vector<Leaf>& leaves) {
  if (!node.variables.empty()) {
    leaves.push_back({path, models, &node});
    std::string& made = leaves.back().path;
    std::replace(made.begin(), made.end(), '\\', '/');  // Windows wrote "layers\conv2d" for a while
  }
  std::string inner = models;
  if (!path.empty() && !node.layer.empty()) inner += (inner.empty() ? "" : "/") + node.layer;
  for (const Node& child : node.children) {
    collect(child, path.empty() ? child.name : path + "/" + child.name, inner, leaves);
  }
}

/// The names of a group's variables under the layer that `layers` puts at its path, or at the path of a group around
/// it; false if there is none.
bool name_by_config(const Leaf& leaf, const std::map<std::string, std::size_t, std::less<>>& by_path,
                    const std::vector<KerasVariables>& layers, std::vector<Named>& tensors, std::size_t& order) {
  std::string_view path = leaf.path;
  for (;;) {
    const auto found = by_path.find(path);
    if (found != by_path.end()) {
      const KerasVariables& layer = layers[found->second];
      order = found->second;
      const std::string below =
          leaf.path.size() > path.size() ? leaf.path.substr(path.size() + 1) + "/" : std::string();
      for (const auto& [number, address] : leaf.node->variables) {
        const bool known = below.empty() && number < layer.variables.size();
        const std::string name = layer.name + "/" + (known ? layer.variables[number] : str(below, "vars/", number));
        const std::string longer = layer.model.empty() ? name : layer.model + "/" + name;
        tensors.push_back({name, longer, str(leaf.path, "/vars/", number), address, layer.model});
      }
      return true;
    }
    const std::size_t bar = path.rfind('/');
    if (bar == path.npos) return false;
    path = path.substr(0, bar);
  }
}

void name_by_file(const Leaf& leaf, std::vector<Named>& tensors) {
  const std::string& layer = leaf.node->layer;
  const auto [kind, ignored] = keras_counter(leaf.node->name);
  const std::vector<std::string> variables = keras_variables(kind, leaf.node->variables.size());
  for (const auto& [number, address] : leaf.node->variables) {
    const std::string full = (leaf.path.empty() ? "" : leaf.path + "/") + str("vars/", number);
    if (layer.empty()) {
      tensors.push_back({full, full, full, address, leaf.models});
      continue;
    }
    const std::string name = layer + "/" + (number < variables.size() ? variables[number] : str("vars/", number));
    tensors.push_back({name, leaf.models.empty() ? name : leaf.models + "/" + name, full, address, leaf.models});
  }
}

}  // namespace

std::vector<Named> version3_tensors(File& file, const std::string* config, std::string& source) {
  Node root = Tree(file).read(file.root(), "");
  std::vector<Leaf> leaves;
  collect(root, "", "", leaves);
  std::vector<KerasVariables> layers;
  if (config) {
    const bool old = std::any_of(leaves.begin(), leaves.end(),
                                 [](const Leaf& leaf) { return leaf.path.starts_with("_layer_checkpoint"); });
    layers = keras_variables(keras_model(*config, file.where()),
                             old ? KerasContainer::checkpoint_dependencies : KerasContainer::layers);
  }
  std::map<std::string, std::size_t, std::less<>> by_path;
  for (std::size_t i = 0; i < layers.size(); ++i) by_path.emplace(layers[i].path, i);

  // In the config's order where there is one, else in that of the file.
  struct Ordered {
    std::size_t order;
    std::vector<Named> tensors;
  };
  std::vector<Ordered> groups;
  bool named = true;
  for (const Leaf& leaf : leaves) {
    Ordered group{std::numeric_limits<std::size_t>::max(), {}};
    if (!name_by_config(leaf, by_path, layers, group.tensors, group.order)) {
      name_by_file(leaf, group.tensors);
      named = named && !leaf.node->layer.empty();
    }
    groups.push_back(std::move(group));
  }
  std::stable_sort(groups.begin(), groups.end(), [](const Ordered& a, const Ordered& b) { return a.order < b.order; });
  std::vector<Named> tensors;
  for (Ordered& group : groups) {
    std::move(group.tensors.begin(), group.tensors.end(), std::back_inserter(tensors));
  }
  source = !layers.empty() ? "config" : named ? "file" : "classes";
  return tensors;
}

}  // namespace fovea::weights::keras
