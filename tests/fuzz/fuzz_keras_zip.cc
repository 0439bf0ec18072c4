// Damaged .keras archives; and, since an archive's checksums catch most damage, good archives of damaged weights and of
// damaged configs: what an input is, its first byte says.
#include <fstream>
#include <iterator>
#include <memory>

#include "core/error.h"
#include "fuzz/driver.h"
#include "fuzz/seed_files.h"
#include "models/weight_file_writer.h"
#include "models/weights/hdf5/bytes_internal.h"
#include "models/weights/keras_names.h"
#include "models/weights/weight_file.h"
#include "models/weights/zip_index_internal.h"

using namespace fovea;

namespace {

std::string content_of(const std::string& name) {
  std::ifstream file(FOVEA_SOURCE_DIR "/tests/models/data/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

struct Parts {
  std::string config, weights;
};

const Parts& parts() {
  static const Parts both = [] {
    std::string archive = content_of("keras_small.keras");
    const weights::ZipIndex index({reinterpret_cast<std::uint8_t*>(archive.data()), archive.size()}, "seed");
    const auto member = [&](const char* name) {
      const auto bytes = index.content(*index.find(name));
      return std::string(bytes.begin(), bytes.end());
    };
    return Parts{member("config.json"), member("model.weights.h5")};
  }();
  return both;
}

void feed(const std::string& archive) {
  const auto bytes = std::make_shared<std::vector<std::uint8_t>>(archive.begin(), archive.end());
  try {
    const weights::WeightFile file = weights::parse_keras_zip(*bytes, bytes, "fuzz");
    for (const weights::FileTensor& tensor : file.tensors) {
      const Tensor values = tensor.read();
      if (values.shape() != tensor.shape || values.dtype() != tensor.dtype) __builtin_trap();
      unsigned sum = 0;
      const auto* p = static_cast<const std::uint8_t*>(values.view().data);
      for (std::size_t i = 0; i < values.nbytes(); ++i) sum += p[i];
      [[maybe_unused]] const volatile unsigned sink = sum;  // so that the reads are not left out
    }
  } catch (const Error&) {
    // the right answer to damage
  }
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  const std::string archive = content_of("keras_nested.keras");
  const auto bytes = std::make_shared<std::vector<std::uint8_t>>(archive.begin(), archive.end());
  std::vector<std::string> seeds = {content_of("keras_small.keras"), archive, parts().weights, parts().config,
                                    *weights::parse_keras_zip(*bytes, bytes, "seed").find_metadata("keras.config")};
  fuzz::add_golden(seeds, {".keras"});
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input(data, data + size);
  if (input.starts_with('{')) {
    try {
      const weights::KerasLayer model = weights::keras_model(input, "fuzz");
      weights::keras_variables(model);
    } catch (const Error&) {
    }
    feed(writer::zip({{"config.json", input}, {"model.weights.h5", parts().weights}}));
  } else if (input.starts_with('P')) {
    feed(input);
  } else {
    weights::hdf5::verify_checksums = false;
    feed(writer::zip({{"config.json", parts().config}, {"model.weights.h5", input}}));
    feed(writer::zip({{"model.weights.h5", input}}));
  }
  return 0;
}
