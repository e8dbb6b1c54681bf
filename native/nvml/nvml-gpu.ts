/** One GPU as NVML knows it. */

import { MAX_DEVICES, type ReportingDevice } from './gpu.ts';
import type { NvmlLibrary } from './library.ts';
import {
  attestationReportRequest,
  CERTIFICATES_BYTES,
  fabricRequest,
  readAttestationChain,
  readAttestationReport,
  readFabric,
  readPointer,
  readText,
  readUnsigned,
  POINTER_BYTES,
  UNSIGNED_BYTES,
  type FabricInformation,
} from './structures.ts';

/** NVML_DEVICE_UUID_V2_BUFFER_SIZE */
const UUID_BYTES = 96;
const UUID = /^GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** NVML_DEVICE_ARCH_*: those that can be confidential. */
const ARCHITECTURES: Readonly<Record<number, string>> = { 9: 'Hopper', 10: 'Blackwell' };

export class NvmlGpu implements ReportingDevice {
  /** Its UUID. */
  readonly name: string;
  /** `Hopper`, `Blackwell`, or the number of another. */
  readonly architecture: string;
  private readonly library: NvmlLibrary;
  /** nvmlDevice_t, which stays valid as long as the library is initialised. */
  private readonly handle: bigint;

  private constructor(library: NvmlLibrary, handle: bigint, name: string, architecture: string) {
    this.library = library;
    this.handle = handle;
    this.name = name;
    this.architecture = architecture;
  }

  /** All GPUs, in the driver's order. @throws RefusalError `nvml-*`, `layout-value` where there are too many */
  static async findAll(library: NvmlLibrary): Promise<readonly NvmlGpu[]> {
    const count = await library.fill('number of GPUs', 'deviceCount', new Uint8Array(UNSIGNED_BYTES));
    const gpus: NvmlGpu[] = [];
    for (let i = 0; i < readUnsigned(count, 'number of GPUs', MAX_DEVICES); i += 1) {
      gpus.push(await NvmlGpu.find(library, i));
    }
    return gpus;
  }

  private static async find(library: NvmlLibrary, index: number): Promise<NvmlGpu> {
    const what = `GPU ${index}`;
    const handle = readPointer(
      await library.fill(what, 'deviceHandle', new Uint8Array(POINTER_BYTES), index),
    );
    const uuid = await library.fillBuffer(`${what} UUID`, 'deviceUuid', UUID_BYTES, handle);
    const memory = new Uint8Array(UNSIGNED_BYTES);
    const number = await library.fill(`${what} architecture`, 'deviceArchitecture', memory, handle);
    const architecture = readUnsigned(number, `${what} architecture`);
    const name = readText(uuid, UUID, `${what} UUID`);
    return new NvmlGpu(library, handle, name, ARCHITECTURES[architecture] ?? `architecture ${architecture}`);
  }

  async certificateChain(): Promise<Uint8Array> {
    const what = `${this.name} certificates`;
    const memory = new Uint8Array(CERTIFICATES_BYTES);
    return readAttestationChain(await this.library.fill(what, 'certificates', memory, this.handle), what);
  }

  async attestationReport(nonce: Uint8Array): Promise<Uint8Array> {
    const what = `${this.name} report`;
    const memory = attestationReportRequest(nonce);
    return readAttestationReport(
      await this.library.fill(what, 'attestationReport', memory, this.handle),
      what,
    );
  }

  /** How far it is part of an NVLink fabric. @throws RefusalError `nvml-*`, `layout-value` */
  async fabric(): Promise<FabricInformation> {
    const what = `${this.name} fabric`;
    return readFabric(await this.library.fill(what, 'deviceFabric', fabricRequest(), this.handle), what);
  }
}
