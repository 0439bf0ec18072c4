// safetensors as weight files: values of any alignment, metadata, and the models that fovea saves.
#include "catch.h"
#include "models/weight_file_writer.h"

using namespace fovea;
using namespace writer;
using weights::WeightFile;

namespace {

/// A file whose header has `padding` more spaces than it needs: older writers did not align the data.
std::string file_of(const std::string& header, const std::string& content, std::size_t padding) {
  const std::string text = header + std::string(padding, ' ');
  return little(static_cast<std::uint64_t>(text.size())) + text + content;
}

}  // namespace

TEST_CASE("safetensors: tensors at odd addresses are copied when they are read, others are views of the file") {
  const std::string header =
      R"({"__metadata__":{"format":"pt","fovea.version":"1"},"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
      R"("e":{"dtype":"F64","shape":[0,3],"data_offsets":[8,8]},"n":{"dtype":"I64","shape":[],"data_offsets":[8,16]}})";
  const std::string content = floats({1.5f, -2}) + little(std::int64_t{7});
  int views = 0;
  for (std::size_t padding = 0; padding < 8; ++padding) {
    const Memory memory(file_of(header, content, padding));
    const WeightFile file = weights::parse_safetensors_weights(*memory.bytes, memory.bytes, "test");
    CHECK(file.format == "fovea model");
    CHECK(*file.find_metadata("format") == "pt");
    REQUIRE(file.tensors.size() == 3);
    const Tensor w = file.find("w")->read();
    CHECK(w.shape() == Shape{2, 1});
    CHECK(w.to_vector<double>() == std::vector<double>{1.5, -2});
    CHECK(file.find("n")->read().item() == 7);
    CHECK(file.find("e")->read().shape() == Shape{0, 3});
    const auto* at = static_cast<const std::uint8_t*>(w.view().data);
    views += at >= memory.bytes->data() && at < memory.bytes->data() + memory.bytes->size();
  }
  CHECK(views == 2);  // of eight paddings two leave the floats at a multiple of four
}
