/** The functions of libnvidia-ml that attestation uses, through koffi. */

import koffi, { type LibraryHandle } from 'koffi';

import type { RefusalError } from '../../attestation/core/refusal.ts';
import { nvmlMachineRefusals, nvmlStateRefusals } from './refusals.ts';
import { requireSuccess } from './return-codes.ts';
import { asyncFunction, SerialCalls, type Argument, type AsyncFunction } from './serial-calls.ts';

/** The name under which the driver's package installs it, for the system's loader. */
export const NVML_LIBRARY = 'libnvidia-ml.so.1';

/** As nvml.h declares them, but for pointers: they are plain memory here, which structures.ts reads. */
const DECLARATIONS = {
  init: 'int nvmlInit_v2()',
  shutdown: 'int nvmlShutdown()',
  driverVersion: 'int nvmlSystemGetDriverVersion(void *version, unsigned int length)',
  deviceCount: 'int nvmlDeviceGetCount_v2(void *count)',
  deviceHandle: 'int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void *device)',
  deviceUuid: 'int nvmlDeviceGetUUID(void *device, void *uuid, unsigned int length)',
  deviceArchitecture: 'int nvmlDeviceGetArchitecture(void *device, void *architecture)',
  deviceFabric: 'int nvmlDeviceGetGpuFabricInfoV(void *device, void *info)',
  attestationReport: 'int nvmlDeviceGetConfComputeGpuAttestationReport(void *device, void *report)',
  certificates: 'int nvmlDeviceGetConfComputeGpuCertificate(void *device, void *certificate)',
  systemState: 'int nvmlSystemGetConfComputeState(void *state)',
  settings: 'int nvmlSystemGetConfComputeSettings(void *settings)',
  readyState: 'int nvmlSystemGetConfComputeGpusReadyState(void *accepting)',
  setReadyState: 'int nvmlSystemSetConfComputeGpusReadyState(unsigned int accepting)',
} as const;
type FunctionName = keyof typeof DECLARATIONS;
type Functions = Readonly<Record<FunctionName, AsyncFunction<number>>>;

/** The library, initialised. What it fills is outside input. */
export class NvmlLibrary {
  readonly address: string;
  private readonly functions: Functions;
  private readonly calls: SerialCalls;
  private isClosed = false;

  private constructor(address: string, functions: Functions, callSeconds: number) {
    this.address = address;
    this.functions = functions;
    this.calls = new SerialCalls(callSeconds, (field) => late(field, callSeconds));
  }

  /**
   * @param path what the system's loader takes: a name or an absolute path
   * @param callSeconds how long one call may take
   * @throws RefusalError `nvml-*`
   */
  static async open(path: string, callSeconds: number): Promise<NvmlLibrary> {
    const loaded = loadLibrary(path);
    const functions = Object.entries(DECLARATIONS).map(([name, declaration]) => [
      name,
      findFunction(loaded, path, declaration),
    ]);
    const library = new NvmlLibrary(`nvml:${path}`, Object.fromEntries(functions) as Functions, callSeconds);
    await library.call('initialisation', 'init');
    return library;
  }

  /**
   * @param what is asked, for messages
   * @throws RefusalError `nvml-*`
   */
  async call(what: string, name: FunctionName, ...values: readonly Argument[]): Promise<void> {
    const field = `${this.address} ${what}`;
    if (this.isClosed) {
      throw nvmlStateRefusals.error('nvml-closed', { field, expected: 'an open library', found: 'closed' });
    }
    await this.enter(field, name, values);
  }

  /** As `call`, for a function that fills the memory, its last argument. */
  async fill(
    what: string,
    name: FunctionName,
    memory: Uint8Array,
    ...before: readonly Argument[]
  ): Promise<Uint8Array> {
    await this.call(what, name, ...before, memory);
    return memory;
  }

  /** As `call`, for a function that fills a buffer whose length is its last argument. */
  async fillBuffer(
    what: string,
    name: FunctionName,
    lengthBytes: number,
    ...before: readonly Argument[]
  ): Promise<Uint8Array> {
    const buffer = new Uint8Array(lengthBytes);
    await this.call(what, name, ...before, buffer, lengthBytes);
    return buffer;
  }

  /** Ends it, unless a call hangs in it: then the end would hang too. @throws RefusalError `nvml-*` */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    if (!this.calls.hangs) await this.enter(`${this.address} end`, 'shutdown', []);
  }

  private async enter(field: string, name: FunctionName, values: readonly Argument[]): Promise<void> {
    requireSuccess(await this.calls.run(field, () => this.functions[name](...values)), field);
  }
}

function loadLibrary(path: string): LibraryHandle {
  try {
    return koffi.load(path);
  } catch (cause) {
    const facts = { field: path, expected: 'a library that loads', found: 'none' };
    throw nvmlMachineRefusals.error('nvml-library-missing', facts, { cause });
  }
}

function findFunction(library: LibraryHandle, path: string, declaration: string): AsyncFunction<number> {
  try {
    return asyncFunction(library.func(declaration));
  } catch (cause) {
    const facts = { field: path, expected: declaration, found: 'no such function' };
    throw nvmlMachineRefusals.error('nvml-library-old', facts, { cause });
  }
}

function late(field: string, seconds: number): RefusalError {
  const facts = { field, expected: `an answer within ${seconds} s`, found: 'none' };
  return nvmlMachineRefusals.error('nvml-timeout', facts);
}
