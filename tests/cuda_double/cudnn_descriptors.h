// What stands behind a cudnnBackendDescriptor_t of the double.
#pragma once

#include <cudnn_graph.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "library_doubles.h"

namespace fovea::cuda_double {

struct Engine;

struct Desc {
  struct Value {
    cudnnBackendAttributeType_t type;
    std::int64_t count = 0;
    std::vector<unsigned char> bytes;
    std::vector<std::shared_ptr<Desc>> children;  // of attributes that are descriptors: the library keeps what it needs
  };

  cudnnBackendDescriptorType_t kind;
  bool finalized = false;
  std::map<int, Value> values;
  const Engine* engine = nullptr;  // of engines and configurations, from the heuristics
  std::shared_ptr<Desc> graph;     // what the engine is for

  bool has(cudnnBackendAttributeName_t name) const { return values.count(name) != 0; }
  template <class T>
  std::vector<T> all(cudnnBackendAttributeName_t name) const {
    const Value& v = values.at(name);
    std::vector<T> result(static_cast<std::size_t>(v.count));
    std::memcpy(result.data(), v.bytes.data(), result.size() * sizeof(T));
    return result;
  }
  template <class T>
  T one(cudnnBackendAttributeName_t name) const {
    T value{};
    std::memcpy(&value, values.at(name).bytes.data(), sizeof value);
    return value;
  }
  template <class T>
  T one_or(cudnnBackendAttributeName_t name, T otherwise) const {
    return has(name) ? one<T>(name) : otherwise;
  }
  const Desc& child(cudnnBackendAttributeName_t name) const { return *values.at(name).children.front(); }
};

/// An engine: what it says about itself, and how its results differ from exact ones, so that choosing a wrong one
/// shows.
struct Engine {
  std::int64_t index;
  const char* name;
  std::vector<cudnnBackendNumericalNote_t> notes;
  std::size_t workspace;
  bool in_mode_a, in_fallback;
  bool plan_refused;  ///< accepted by the heuristics, but no plan can be made
  bool rounds;        ///< operands to TF32
  double error;       ///< results are multiplied by 1 + error
};

/// Ends the program if the operations of a graph do not fit together.
void check_graph(const Desc& graph);
/// The engines that a heuristic finds for a graph.
std::vector<const Engine*> engines_for(const Desc& graph, cudnnBackendHeurMode_t mode);
/// Checks the memory of a call and queues its work; false if an injected failure of a launch hit it.
bool execute(const Desc& plan, const Desc& pack, cudaStream_t stream);

}  // namespace fovea::cuda_double
