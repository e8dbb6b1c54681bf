// The N-API face of `work.h`: one function, `run(work)`, that returns a promise. Its only caller is `chunks.ts`, which
// states the types; what is of another type is refused here too, because a wrong address would be read and written.

#include <node_api.h>

#include <algorithm>
#include <cstdint>
#include <memory>

#include "work.h"

namespace weightgate {
namespace {

struct Request {
  Work work;
  Failure failure;
  napi_deferred deferred = nullptr;
  napi_async_work async_work = nullptr;
  // Keeps the arrays alive that the work points into.
  napi_ref arguments = nullptr;
};

// Reads members of one object. After the first that is wrong all further results are meaningless, and `ok` is false.
class Reader {
 public:
  Reader(napi_env env, napi_value object) : env_(env), object_(object) {}

  bool ok() const { return ok_; }

  napi_value Member(const char* name) {
    napi_value value = nullptr;
    Check(napi_get_named_property(env_, object_, name, &value) == napi_ok);
    return value;
  }

  uint64_t Number(const char* name) {
    double value = -1;
    Check(napi_get_value_double(env_, Member(name), &value) == napi_ok && value >= 0 && value <= kMaxSafeInteger);
    return ok_ ? static_cast<uint64_t>(value) : 0;
  }

  int Descriptor(const char* name) {
    const uint64_t value = Number(name);
    Check(value <= INT32_MAX);
    return static_cast<int>(value);
  }

  bool Boolean(const char* name) {
    bool value = false;
    Check(napi_get_value_bool(env_, Member(name), &value) == napi_ok);
    return value;
  }

  // An address in this process as a bigint; 0 for none.
  uint8_t* Address(const char* name) { return ToAddress(Member(name)); }

  uint8_t* ToAddress(napi_value value) {
    uint64_t address = 0;
    bool lossless = false;
    Check(napi_get_value_bigint_uint64(env_, value, &address, &lossless) == napi_ok && lossless);
    return reinterpret_cast<uint8_t*>(ok_ ? address : 0);
  }

  // The memory of a typed array of one type and of at least so many bytes.
  void* Array(const char* name, napi_typedarray_type wanted, size_t least_bytes) {
    napi_typedarray_type type;
    size_t length = 0;
    void* data = nullptr;
    Check(napi_get_typedarray_info(env_, Member(name), &type, &length, &data, nullptr, nullptr) == napi_ok &&
          type == wanted && length * ElementBytes(wanted) >= least_bytes);
    return data;
  }

  uint32_t Length(napi_value array) {
    uint32_t length = 0;
    Check(ok_ && napi_get_array_length(env_, array, &length) == napi_ok);
    return ok_ ? length : 0;
  }

  napi_value Element(napi_value array, uint32_t index) {
    napi_value value = nullptr;
    Check(napi_get_element(env_, array, index, &value) == napi_ok);
    return value;
  }

  void Check(bool holds) { ok_ = ok_ && holds; }

 private:
  static constexpr double kMaxSafeInteger = 9007199254740991.0;

  static size_t ElementBytes(napi_typedarray_type type) {
    return type == napi_bigint64_array ? 8 : type == napi_int32_array ? 4 : 1;
  }

  const napi_env env_;
  const napi_value object_;
  bool ok_ = true;
};

bool ReadFile(napi_env env, napi_value value, File* file) {
  Reader reader(env, value);
  file->source = reader.Descriptor("source");
  file->target = reader.Descriptor("target");
  file->bytes = reader.Number("bytes");
  file->chunks = reader.Number("chunks");
  file->first_tag = reader.Number("firstTag");
  file->key = reader.Address("keyAddress");
  file->locked = reader.Address("lockedAddress");
  const uint64_t chunks = file->bytes == 0 ? 1 : (file->bytes - 1) / kChunkBytes + 1;
  reader.Check(file->key != nullptr && file->chunks == chunks);
  return reader.ok();
}

bool ReadWork(napi_env env, napi_value value, Work* work) {
  Reader reader(env, value);
  work->direction = reader.Boolean("seals") ? Direction::kSeal : Direction::kOpen;
  work->lock_pages = reader.Boolean("locksBefore") ? LockPages::kBefore : LockPages::kAfter;
  const napi_value files = reader.Member("files");
  uint64_t tag_end = 0;
  for (uint32_t i = 0; reader.ok() && i < reader.Length(files); ++i) {
    File file;
    reader.Check(ReadFile(env, reader.Element(files, i), &file));
    tag_end = std::max(tag_end, file.first_tag + file.chunks);
    work->files.push_back(file);
  }
  const size_t digests = work->direction == Direction::kSeal ? work->files.size() * kDigestBytes : 0;
  work->tags = static_cast<uint8_t*>(reader.Array("tags", napi_uint8_array, tag_end * kTagBytes));
  work->digests = static_cast<uint8_t*>(reader.Array("digests", napi_uint8_array, digests));
  work->stopped = static_cast<int32_t*>(reader.Array("stopped", napi_int32_array, sizeof(int32_t)));
  work->done_bytes = static_cast<int64_t*>(reader.Array("doneBytes", napi_bigint64_array, sizeof(int64_t)));
  const napi_value stages = reader.Member("stages");
  for (uint32_t i = 0; reader.ok() && i < reader.Length(stages); ++i) {
    work->stages.push_back(reader.ToAddress(reader.Element(stages, i)));
    reader.Check(work->stages.back() != nullptr);
  }
  reader.Check(!work->stages.empty());
  return reader.ok();
}

const char* ProblemName(Problem problem) {
  switch (problem) {
    case Problem::kRead:
      return "read";
    case Problem::kShort:
      return "short";
    case Problem::kTag:
      return "tag";
    case Problem::kWrite:
      return "write";
    case Problem::kLock:
      return "lock";
    case Problem::kCipher:
    case Problem::kNone:
      break;
  }
  return "cipher";
}

void SetNumber(napi_env env, napi_value object, const char* name, double number) {
  napi_value value = nullptr;
  napi_create_double(env, number, &value);
  napi_set_named_property(env, object, name, value);
}

napi_value ToValue(napi_env env, const Failure& failure) {
  napi_value result = nullptr;
  if (failure.problem == Problem::kNone) {
    napi_get_undefined(env, &result);
    return result;
  }
  napi_create_object(env, &result);
  napi_value name = nullptr;
  napi_create_string_utf8(env, ProblemName(failure.problem), NAPI_AUTO_LENGTH, &name);
  napi_set_named_property(env, result, "problem", name);
  SetNumber(env, result, "file", static_cast<double>(failure.file));
  SetNumber(env, result, "chunk", static_cast<double>(failure.chunk));
  SetNumber(env, result, "errorNumber", failure.error_number);
  return result;
}

void Execute(napi_env, void* data) {
  Request* request = static_cast<Request*>(data);
  request->failure = Run(request->work);
}

void Complete(napi_env env, napi_status, void* data) {
  const std::unique_ptr<Request> request(static_cast<Request*>(data));
  napi_resolve_deferred(env, request->deferred, ToValue(env, request->failure));
  napi_delete_reference(env, request->arguments);
  napi_delete_async_work(env, request->async_work);
}

napi_value RunRequest(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument = nullptr;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  auto request = std::make_unique<Request>();
  if (count != 1 || !ReadWork(env, argument, &request->work)) {
    napi_throw_type_error(env, nullptr, "the work is not of the form that native/chunks/chunks.ts states");
    return nullptr;
  }
  napi_value promise = nullptr;
  napi_value name = nullptr;
  napi_create_string_utf8(env, "weightgate.chunks", NAPI_AUTO_LENGTH, &name);
  const bool queued =
      napi_create_promise(env, &request->deferred, &promise) == napi_ok &&
      napi_create_reference(env, argument, 1, &request->arguments) == napi_ok &&
      napi_create_async_work(env, nullptr, name, Execute, Complete, request.get(), &request->async_work) == napi_ok &&
      napi_queue_async_work(env, request->async_work) == napi_ok;
  if (!queued) {
    napi_throw_error(env, nullptr, "Node.js did not take the work");
    return nullptr;
  }
  request.release();  // `Complete` owns it.
  return promise;
}

napi_value Initialise(napi_env env, napi_value exports) {
  napi_value run = nullptr;
  napi_create_function(env, "run", NAPI_AUTO_LENGTH, RunRequest, nullptr, &run);
  napi_set_named_property(env, exports, "run", run);
  return exports;
}

}  // namespace
}  // namespace weightgate

NAPI_MODULE(weightgate_chunks, weightgate::Initialise)
