#include "infer/graph/device_network.h"

#include <algorithm>
#include <cstdio>
#include <list>

#include "core/error.h"
#include "image/views.h"
#include "infer/graph/network_file_internal.h"
#include "kernels/dense.h"
#include "kernels/device_graph.h"
#include "kernels/devices.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"
#include "kernels/registry.h"

namespace fovea::infer {
namespace {

using kernels::Activation;

/// What a node computes in where maps are in `dtype`: probabilities are not for halves.
DType type_of(const Node& node, DType dtype) {
  return node.kind == Kind::softmax || node.kind == Kind::log_softmax ? DType::f32 : dtype;
}

/// One node: a fresh result from its operands, of their type.
/// @param zeros, ones of as many channels as any scale_shift has
Tensor computed(const Node& node, const std::vector<Tensor>& in, const Shape& shape, const Tensor& zeros,
                const Tensor& ones) {
  const Tensor& x = in[0];
  Tensor y(shape, x.dtype(), x.device());
  const kernels::ActivationParams none{Activation::none};
  switch (node.kind) {
    case Kind::conv2d:
      kernels::conv2d_forward(node.conv, x.view(), node.weight.view(), optional_view(node.bias), y.mutable_view(),
                              node.residual ? none : node.activation);
      if (node.residual) {
        kernels::binary(kernels::Binary::add, y.view(), in.back().view(), y.mutable_view());
        if (node.activation.kind != Activation::none)
          kernels::activation_forward(node.activation, y.view(), y.mutable_view());
      }
      break;
    case Kind::dense: {
      const std::int64_t k = node.weight_shape[0], n = node.weight_shape[1], rows = x.numel() / k;
      Tensor flat = y.view_as({rows, n});
      kernels::dense_forward(x.view_as({rows, k}).view(), node.weight.view(), optional_view(node.bias),
                             flat.mutable_view(), node.activation);
      break;
    }
    case Kind::scale_shift: {
      const std::int64_t channels = node.weight_shape.numel();
      kernels::batch_norm_inference({0.0, node.activation}, x.view(), node.weight.view(), optional_view(node.bias),
                                    zeros.slice(0, channels).view(), ones.slice(0, channels).view(), y.mutable_view());
      break;
    }
    case Kind::affine: kernels::affine(node.factor, node.offset, x.view(), y.mutable_view()); break;
    case Kind::activation: kernels::activation_forward(node.activation, x.view(), y.mutable_view()); break;
    case Kind::add:
    case Kind::multiply:
      kernels::binary(node.kind == Kind::add ? kernels::Binary::add : kernels::Binary::multiply, x.view(), in[1].view(),
                      y.mutable_view());
      break;
    case Kind::concat: {
      std::vector<ConstView> parts;
      parts.reserve(in.size());
      for (const Tensor& part : in) parts.push_back(part.view());
      kernels::concat_forward(node.axis < 0 ? node.axis + shape.rank() : node.axis, parts, y.mutable_view());
      break;
    }
    case Kind::pool2d: kernels::pool2d_forward(node.pool, x.view(), y.mutable_view(), std::nullopt); break;
    case Kind::global_average_pool: kernels::global_average_pool_forward(x.view(), y.mutable_view()); break;
    case Kind::adaptive_average_pool: kernels::adaptive_average_pool_forward(x.view(), y.mutable_view()); break;
    case Kind::softmax: kernels::softmax_forward(x.view(), y.mutable_view()); break;
    case Kind::log_softmax: kernels::log_softmax_forward(x.view(), y.mutable_view()); break;
  }
  return y;
}

/// The work of one input shape.
struct Work {
  Shape shape;
  std::vector<Shape> shapes;     // of all values
  std::vector<int> last_reader;  // by value: the node after which its memory is free; -1: never read
  int uses = 0;
  Tensor x, y;  // what the recorded work reads and writes
  DeviceGraph recorded;
  bool refused = false;  // something in it cannot be recorded
};

// As for plans on the CPU: a data set's last batch and a handful of sizes.
constexpr std::size_t kMaxShapes = 8;

}  // namespace

struct DeviceNetwork::Impl {
  Device device;
  DType dtype = DType::f32;
  Graph graph;
  Tensor zeros, ones;  // mean and variance that change nothing, for norms that nothing took in
  image::Preprocessing preprocessing;
  std::vector<std::string> class_names;
  std::string architecture;
  std::list<Work> work;  // the latest first

  Work& work_for(const Shape& input) {
    for (auto it = work.begin(); it != work.end(); ++it) {
      if (it->shape != input) continue;
      work.splice(work.begin(), work, it);
      return work.front();
    }
    Work made;
    made.shape = input;
    made.shapes = shapes_of(graph, input);
    made.last_reader.assign(graph.memory.size(), -1);
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      for (const int v : graph.nodes[i].inputs)
        made.last_reader[static_cast<std::size_t>(graph.root(v))] = static_cast<int>(i);
    }
    made.last_reader[static_cast<std::size_t>(graph.root(graph.output))] = static_cast<int>(graph.nodes.size());
    work.push_front(std::move(made));
    if (work.size() > kMaxShapes) work.pop_back();
    return work.front();
  }

  Tensor run(const Work& of, const Tensor& x) const {
    std::vector<Tensor> values(graph.memory.size());  // by root
    const auto root = [&](int v) -> Tensor& { return values[static_cast<std::size_t>(graph.root(v))]; };
    const auto shaped = [&](int v) {
      const Shape& shape = of.shapes[static_cast<std::size_t>(v)];
      return root(v).shape() == shape ? root(v) : root(v).view_as(shape);
    };
    root(graph.input) = x.to(dtype);
    std::vector<Tensor> in;
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      const Node& node = graph.nodes[i];
      in.clear();
      for (const int v : node.inputs) in.push_back(shaped(v).to(type_of(node, dtype)));
      root(node.output) = computed(node, in, of.shapes[static_cast<std::size_t>(node.output)], zeros, ones).to(dtype);
      in.clear();
      for (const int v : node.inputs) {
        if (of.last_reader[static_cast<std::size_t>(graph.root(v))] == static_cast<int>(i)) root(v) = Tensor();
      }
    }
    return shaped(graph.output).to(DType::f32);
  }

  void record(Work& of) {
    of.x = Tensor::zeros(of.shape, DType::f32, device);
    try {
      of.recorded = DeviceGraph::record(device, [&] { of.y = run(of, of.x); }, {.constant_weights = true});
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::device) throw;
      of.refused = true;
      of.x = of.y = Tensor();
      if (kernels::detail::verbose()) std::fprintf(stderr, "fovea: not recorded: %s\n", e.what());
    }
  }
};

DeviceNetwork::DeviceNetwork() = default;
DeviceNetwork::~DeviceNetwork() = default;
DeviceNetwork::DeviceNetwork(DeviceNetwork&&) noexcept = default;
DeviceNetwork& DeviceNetwork::operator=(DeviceNetwork&&) noexcept = default;

DeviceNetwork::DeviceNetwork(NetworkFile&& from, Device device, DType dtype) : impl_(std::make_unique<Impl>()) {
  if (device.type != DeviceType::cuda)
    throw Error(ErrorKind::device, "compile", str("is for GPUs, not for ", device.to_string()), "use infer::Network");
  if (dtype != DType::f32 && !is_half(dtype)) {
    throw Error(ErrorKind::usage, "compile", str("'", to_string(dtype), "' is no type of inference on GPUs"),
                "f32, bf16 and f16 are");
  }
  if (const std::string why = is_half(dtype) ? why_no_half(device, dtype) : ""; !why.empty())
    throw Error(ErrorKind::device, "compile", why, "f32 runs everywhere");
  impl_->device = device;
  impl_->dtype = dtype;
  impl_->graph = std::move(from.graph);
  dequantize(impl_->graph);
  std::int64_t channels = 1;
  for (Node& node : impl_->graph.nodes) {
    if (node.kind == Kind::scale_shift) channels = std::max(channels, node.weight_shape.numel());
    if (node.weight.defined()) {
      const bool products = node.kind == Kind::conv2d || node.kind == Kind::dense;
      node.weight = node.weight.to(device).to(products ? dtype : DType::f32);
    }
    if (node.bias.defined()) node.bias = node.bias.to(device);
  }
  impl_->zeros = Tensor::zeros({channels}, DType::f32, device);
  impl_->ones = Tensor::ones({channels}, DType::f32, device);
  impl_->preprocessing = from.preprocessing;
  impl_->class_names = std::move(from.class_names);
  impl_->architecture = std::move(from.architecture);
}

DeviceNetwork::Impl& DeviceNetwork::impl() const {
  if (!impl_) throw Error(ErrorKind::usage, "network", "nothing is loaded", "load one with infer::load_on");
  return *impl_;
}

Device DeviceNetwork::device() const { return impl().device; }
DType DeviceNetwork::dtype() const { return impl().dtype; }
const image::Preprocessing& DeviceNetwork::preprocessing() const { return impl().preprocessing; }
const std::vector<std::string>& DeviceNetwork::class_names() const { return impl().class_names; }
const std::string& DeviceNetwork::architecture() const { return impl().architecture; }

std::size_t DeviceNetwork::planned_bytes(const Shape& input) const {
  for (const Work& of : impl().work) {
    if (of.shape == input) return of.recorded.memory_bytes();
  }
  return 0;
}

Tensor DeviceNetwork::operator()(const Tensor& x) {
  return image::forward_views(impl().preprocessing, x, [this](const Tensor& view) { return one_view(view); });
}

Tensor DeviceNetwork::one_view(const Tensor& x) {
  Impl& self = impl();
  if (x.dtype() != DType::f32 || (x.device() != kCpu && x.device() != self.device)) {
    throw Error(x.dtype() != DType::f32 ? ErrorKind::usage : ErrorKind::device, "network",
                str("expected pictures f32 on ", self.device.to_string(), " or the CPU, got ", x.to_string()));
  }
  const bool from_host = x.device() == kCpu;
  Work& of = self.work_for(x.shape());
  // Twice at least before it pays to run the work another two times for a recording.
  if (++of.uses == 2 && !of.refused) self.record(of);
  if (!of.recorded.defined()) {
    const Tensor y = self.run(of, from_host ? x.to(self.device) : x);
    return from_host ? y.to(kCpu) : y;
  }
  of.x.copy_from(x);
  of.recorded.launch();
  return from_host ? of.y.to(kCpu) : of.y.clone();
}

DeviceNetwork load_on(Device device, const std::string& path, DType dtype) {
  return {read_network(path), device, dtype};
}

}  // namespace fovea::infer
