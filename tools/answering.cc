#include "tools/answering.h"

#include <memory>

#include "infer/compile/compile.h"

namespace fovea::tools {

bool is_compiled(const ModelSource& source) { return infer::is_compiled(source.path); }

void check_compiled_options(const ModelSource& s) {
  if (s.model == "auto" && s.layout == "auto" && s.width == 0 && s.image_size == 0 && s.classes == 0 &&
      s.variant.empty())
    return;
  throw Error(ErrorKind::usage, s.path, "is a compiled network: its size, classes and conventions are settled",
              "leave --model, --layout, --width, --size, --classes and --variant out");
}

Answering open_answering(const ModelSource& source, DType dtype, Device device) {
  if (device == kCpu && dtype == DType::f16)
    throw Error(ErrorKind::usage, "--dtype", "f16 needs a GPU", "give --device cuda, or --dtype bf16");
  const auto answers_of = [](auto network) -> Answering {
    const image::Preprocessing p = network->preprocessing();
    std::vector<std::string> names = network->class_names();
    return {[network](const Tensor& x) { return (*network)(x); }, p, std::move(names)};
  };
  if (is_compiled(source)) {
    check_compiled_options(source);
    if (device != kCpu)
      return answers_of(std::make_shared<infer::DeviceNetwork>(infer::load_on(device, source.path, dtype)));
    return answers_of(std::make_shared<infer::Network>(infer::load(source.path, dtype)));
  }
  Model model = open_model(source);
  model.to(device);
  return {infer::fast_forward(model, dtype), model.preprocessing, model.class_names};
}

}  // namespace fovea::tools
