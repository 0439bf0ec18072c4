// A network as a chain of oneDNN primitives, the way a program without a graph compiler would call them: batch norms
// folded, activations and residual additions as post-ops, activations NHWC, weights in the layout that each primitive
// asks for. bench/peers/infer.py writes the file, runs this and compares; it is a peer, not a part of fovea.
//
//   onednn_chain FILE [--dtype f32|bf16] [--threads N] [--warmup N] [--runs N] [--input FILE --output FILE]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/error.h"
#include "core/io/safetensors.h"
#include "core/threads/parallel.h"
#include "kernels/cpu/onednn/versions.h"

namespace fovea::onednn_chain {
namespace {

using namespace kernels::onednn;
using nlohmann::json;
using Arguments = std::unordered_map<int, memory>;

constexpr auto kForward = prop_kind::forward_inference;

struct Step {
  dnnl::primitive primitive;
  Arguments arguments;
};

class Chain {
 public:
  Chain(const Safetensors& file, memory::data_type type) : file_(file), type_(type), stream_(engine()) {
    const std::string* text = file.find_metadata("chain");
    if (!text) throw Error(ErrorKind::format, "onednn_chain", "the file holds no chain");
    const json chain = json::parse(*text);
    for (const auto& [name, shape] : chain.at("shapes").items()) {
      Dims dims = shape.get<Dims>();  // NHWC or NC
      if (dims.size() == 4) dims = {dims[0], dims[3], dims[1], dims[2]};
      dims.resize(4, 1);
      dims_[name] = dims;
    }
    input_ = chain.at("input").get<std::string>();
    output_ = chain.at("output").get<std::string>();
    value(input_);
    for (const json& node : chain.at("nodes")) add(node);
    stream_.wait();
  }

  void run() {
    for (const Step& step : steps_) step.primitive.execute(stream_, step.arguments);
    stream_.wait();
  }

  void set_input(const Tensor& x) { copy(plain(input_, x.shape().numel(), x.data<float>()), value(input_)); }

  Tensor logits() {
    const Dims& dims = dims_.at(output_);
    Tensor y({dims[0], dims[1]});
    copy(value(output_), plain(output_, y.numel(), y.mutable_data<float>()));
    return y;
  }

  /// Primitives for which oneDNN has nothing better than its reference code.
  int references() const { return references_; }

 private:
  memory::desc desc(const Dims& dims) const { return {dims, type_, memory::format_tag::nhwc}; }

  const memory& value(const std::string& name) {
    auto found = values_.find(name);
    if (found == values_.end()) found = values_.emplace(name, memory(desc(dims_.at(name)), engine())).first;
    return found->second;
  }

  memory plain(const std::string& name, std::int64_t count, const float* data) const {
    const memory::desc d(dims_.at(name), memory::data_type::f32, memory::format_tag::nhwc);
    if (d.get_size() != static_cast<std::size_t>(count) * sizeof(float))
      throw Error(ErrorKind::shape, "onednn_chain", "the input has another size than the network's");
    return memory(d, engine(), const_cast<float*>(data));
  }

  void copy(memory from, memory to) {
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
  }

  /// A parameter in the layout that the primitive wants.
  memory parameter(const std::string& name, const Dims& dims, const Dims& strides, const memory::desc& wanted) {
    const Tensor tensor = file_.find(name);
    memory result(wanted, engine());
    copy(memory({dims, memory::data_type::f32, strides}, engine(), const_cast<float*>(tensor.data<float>())), result);
    return result;
  }

  template <class Primitive>
  void push(const typename Primitive::primitive_desc& description, Arguments arguments) {
    references_ += std::string(description.impl_info_str()).starts_with("ref");
    steps_.push_back({Primitive(description), std::move(arguments)});
  }

  static void activation(dnnl::post_ops& ops, const std::string& kind) {
    if (kind == "relu") append_eltwise(ops, algorithm::eltwise_relu, 0, 0);
    if (kind == "relu6") append_eltwise(ops, algorithm::eltwise_clip, 0, 6);
    if (kind == "sigmoid") append_eltwise(ops, algorithm::eltwise_logistic, 0, 0);
    if (kind == "silu") append_eltwise(ops, algorithm::eltwise_swish, 1, 0);
    if (kind == "hard_sigmoid") {
      append_eltwise(ops, algorithm::eltwise_linear, 1.0f / 6, 0.5f);
      append_eltwise(ops, algorithm::eltwise_clip, 0, 1);
    }
    if (kind == "hard_swish") {
#if DNNL_VERSION_MAJOR >= 3
      append_eltwise(ops, algorithm::eltwise_hardswish, 1.0f / 6, 0.5f);
#else
      append_eltwise(ops, algorithm::eltwise_hardswish, 0, 0);
#endif
    }
  }

  void add(const json& node) {
    const std::string op = node.at("op").get<std::string>(), out = node.at("output").get<std::string>();
    const std::vector<std::string> in = node.at("inputs").get<std::vector<std::string>>();
    dnnl::post_ops ops;
    if (const std::string onto = node.value("onto", ""); !onto.empty()) {
      values_[out] = value(onto);  // the residual lies where the sum goes
      ops.append_sum();
    }
    activation(ops, node.value("activation", ""));
    primitive_attr attr;
    attr.set_post_ops(ops);
    if (op == "conv") return convolution(node, in[0], out, attr);
    if (op == "dense") return dense(node, in[0], out, attr);
    if (op == "max_pool" || op == "avg_pool" || op == "mean") return pool(op, node, in[0], out);
    if (op == "concat") return concat(in, out);
    const auto kind = op == "add" ? algorithm::binary_add : algorithm::binary_mul;
    if (op != "add" && op != "multiply") throw Error(ErrorKind::usage, "onednn_chain", "no op '" + op + "' here");
    const auto description =
        describe<dnnl::binary>(attr, kind, value(in[0]).get_desc(), value(in[1]).get_desc(), value(out).get_desc());
    push<dnnl::binary>(description,
                       {{DNNL_ARG_SRC_0, value(in[0])}, {DNNL_ARG_SRC_1, value(in[1])}, {DNNL_ARG_DST, value(out)}});
  }

  void convolution(const json& node, const std::string& in, const std::string& out, const primitive_attr& attr) {
    const Dims stride = node.at("stride").get<Dims>(), padding = node.at("padding").get<Dims>();
    Dims dilation = node.at("dilation").get<Dims>();
    for (auto& d : dilation) --d;
    const std::int64_t groups = node.at("groups").get<std::int64_t>(), outputs = dims_.at(out)[1];
    const Dims window = node.at("window").get<Dims>();
    const std::int64_t inputs = dims_.at(in)[1] / groups, each = outputs / groups;
    // HWIO, whose last axis is group by group.
    Dims dims{each, inputs, window[0], window[1]};
    Dims strides{1, outputs, window[1] * inputs * outputs, inputs * outputs};
    if (groups > 1) {
      dims.insert(dims.begin(), groups);
      strides.insert(strides.begin(), each);
    }
    const memory::desc any(dims, type_, memory::format_tag::any);
    const memory::desc bias({outputs}, memory::data_type::f32, memory::format_tag::x);
    const auto description = describe<dnnl::convolution_forward>(
        attr, kForward, algorithm::convolution_direct, value(in).get_desc(), any, bias, value(out).get_desc(), stride,
        dilation, Dims{padding[0], padding[2]}, Dims{padding[1], padding[3]});
    push<dnnl::convolution_forward>(
        description,
        {{DNNL_ARG_SRC, value(in)},
         {DNNL_ARG_WEIGHTS, parameter(node.at("weight").get<std::string>(), dims, strides, description.weights_desc())},
         {DNNL_ARG_BIAS, parameter(node.at("bias").get<std::string>(), {outputs}, {1}, bias)},
         {DNNL_ARG_DST, value(out)}});
  }

  void dense(const json& node, const std::string& in, const std::string& out, const primitive_attr& attr) {
    const std::int64_t batch = dims_.at(in)[0], inputs = dims_.at(in)[1], outputs = dims_.at(out)[1];
    const auto flat = [&](std::int64_t width) { return memory::desc({batch, width}, type_, memory::format_tag::nc); };
    const memory::desc bias({outputs}, memory::data_type::f32, memory::format_tag::x);
    const auto description = describe<dnnl::inner_product_forward>(
        attr, kForward, flat(inputs), memory::desc({outputs, inputs}, type_, memory::format_tag::any), bias,
        flat(outputs));
    push<dnnl::inner_product_forward>(
        description, {{DNNL_ARG_SRC, memory(flat(inputs), engine(), value(in).get_data_handle())},
                      {DNNL_ARG_WEIGHTS, parameter(node.at("weight").get<std::string>(), {outputs, inputs},
                                                   {1, outputs}, description.weights_desc())},
                      {DNNL_ARG_BIAS, parameter(node.at("bias").get<std::string>(), {outputs}, {1}, bias)},
                      {DNNL_ARG_DST, memory(flat(outputs), engine(), value(out).get_data_handle())}});
  }

  void pool(const std::string& op, const json& node, const std::string& in, const std::string& out) {
    Dims window{dims_.at(in)[2], dims_.at(in)[3]}, stride{1, 1}, before{0, 0}, after{0, 0};
    auto kind = algorithm::pooling_avg_exclude_padding;
    if (op != "mean") {
      window = node.at("window").get<Dims>();
      stride = node.at("stride").get<Dims>();
      const Dims padding = node.at("padding").get<Dims>();
      before = {padding[0], padding[2]}, after = {padding[1], padding[3]};
      if (op == "max_pool") kind = algorithm::pooling_max;
      if (op == "avg_pool" && node.at("count_padding").get<bool>()) kind = algorithm::pooling_avg_include_padding;
    }
#if DNNL_VERSION_MAJOR >= 3
    using Pooling = dnnl::pooling_forward;
#else
    using Pooling = dnnl::pooling_v2_forward;
#endif
    const auto description = describe<Pooling>(primitive_attr(), kForward, kind, value(in).get_desc(),
                                               value(out).get_desc(), stride, window, Dims{0, 0}, before, after);
    push<Pooling>(description, {{DNNL_ARG_SRC, value(in)}, {DNNL_ARG_DST, value(out)}});
  }

  void concat(const std::vector<std::string>& in, const std::string& out) {
    std::vector<memory::desc> parts;
    Arguments arguments{{DNNL_ARG_DST, value(out)}};
    for (const std::string& name : in) {
      arguments[DNNL_ARG_MULTIPLE_SRC + static_cast<int>(parts.size())] = value(name);
      parts.push_back(value(name).get_desc());
    }
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::concat::primitive_desc description(engine(), value(out).get_desc(), 1, parts);
#else
    const dnnl::concat::primitive_desc description(value(out).get_desc(), 1, parts, engine());
#endif
    push<dnnl::concat>(description, std::move(arguments));
  }

  const Safetensors& file_;
  memory::data_type type_;
  dnnl::stream stream_;
  std::map<std::string, Dims> dims_;  // NCHW
  std::map<std::string, memory> values_;
  std::vector<Step> steps_;
  std::string input_, output_;
  int references_ = 0;
};

/// A line of /proc/self/status; ru_maxrss would include what the parent process held.
double status_mb(const char* name) {
  std::ifstream in("/proc/self/status");
  std::string word;
  double kilobytes = 0;
  while (in >> word) {
    if (word == name) in >> kilobytes;
  }
  return kilobytes / 1024;
}

int run(const std::string& path, std::map<std::string, std::string> options) {
  const auto number = [&](const char* name, int standard) {
    return options.contains(name) ? std::stoi(options[name]) : standard;
  };
  const int warmup = number("--warmup", 3), runs = number("--runs", 50);
  set_num_threads(number("--threads", num_threads()));
  detail::sync_thread_team();
  const Safetensors file = read_safetensors(path);
  const double before = status_mb("VmRSS:");
  Chain chain(file, options["--dtype"] == "bf16" ? memory::data_type::bf16 : memory::data_type::f32);
  if (options.contains("--input")) {
    chain.set_input(read_safetensors(options["--input"]).find("input"));
    chain.run();
    write_safetensors(options["--output"], {{"logits", chain.logits()}});
  }
  std::vector<double> times;
  for (int i = 0; i < warmup + runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    chain.run();
    const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
    if (i >= warmup) times.push_back(elapsed.count());
  }
  std::sort(times.begin(), times.end());
  const json result{{"min_ms", times.empty() ? 0 : times.front()},
                    {"median_ms", times.empty() ? 0 : times[times.size() / 2]},
                    {"peak_memory_mb", status_mb("VmHWM:") - before},
                    {"reference_primitives", chain.references()},
                    {"version", str(DNNL_VERSION_MAJOR, ".", DNNL_VERSION_MINOR, ".", DNNL_VERSION_PATCH)}};
  std::printf("%s\n", result.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace fovea::onednn_chain

int main(int argc, char** argv) {
  std::map<std::string, std::string> options;
  for (int i = 2; i + 1 < argc; i += 2) options[argv[i]] = argv[i + 1];
  if (argc < 2 || argc % 2 != 0) {
    std::fprintf(stderr,
                 "usage: onednn_chain FILE [--dtype f32|bf16] [--threads N] [--warmup N] [--runs N] "
                 "[--input FILE --output FILE]\n");
    return 2;
  }
  try {
    return fovea::onednn_chain::run(argv[1], options);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "onednn_chain: %s\n", e.what());
    return 1;
  }
}
