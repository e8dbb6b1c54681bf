/** The NVSwitches of this machine through NSCQ, NVIDIA's library for them (docs/spec/nvidia-gpu-agent.md, NA-16). */

import { NONCE_BYTES, type ReportingDevice, type SwitchSystem } from '../nvml/gpu.ts';
import { MAX_CHAIN_BYTES, MAX_REPORT_BYTES, type Filled } from './declarations.ts';
import { NSCQ_LIBRARY, NscqLibrary } from './library.ts';
import { nscqContentRefusals } from './refusals.ts';

const CALL_SECONDS = 30;

/** `nscq_tnvl_status_t`: trusted NVLink, in which a switch takes no orders from the host any more once it is locked. */
const MODES: Readonly<Record<number, TrustedNvlinkMode>> = {
  [-1]: 'unknown',
  0: 'disabled',
  1: 'enabled',
  2: 'failure',
  3: 'locked',
};
export type TrustedNvlinkMode = 'unknown' | 'disabled' | 'enabled' | 'failure' | 'locked';

export interface NscqOptions {
  /** What the system's loader takes; by default the name under which its package installs it. */
  readonly library?: string;
  readonly callSeconds?: number;
}

export class NscqSwitch implements ReportingDevice {
  /** Its label, the text of its UUID. */
  readonly name: string;
  private readonly library: NscqLibrary;

  constructor(library: NscqLibrary, label: string) {
    this.library = library;
    this.name = label;
  }

  async certificateChain(): Promise<Uint8Array> {
    const path = `/${this.name}/config/certificate`;
    return filledPart(await this.library.one('chain', path), MAX_CHAIN_BYTES, path);
  }

  async attestationReport(nonce: Uint8Array): Promise<Uint8Array> {
    const path = `/${this.name}/config/attestation_report`;
    if (nonce.length !== NONCE_BYTES)
      refuse(`${path} nonce`, `${NONCE_BYTES} bytes`, `${nonce.length} bytes`);
    return filledPart(await this.library.one('report', path, nonce), MAX_REPORT_BYTES, path);
  }

  /** @throws RefusalError `nscq-*` */
  async trustedNvlink(): Promise<TrustedNvlinkMode> {
    const path = `/${this.name}/config/pcie_mode`;
    const mode = await this.library.one('mode', path);
    return MODES[mode] ?? refuse(path, 'a mode from -1 to 3', String(mode));
  }
}

/** NA-4: the size that the library reports is not beyond the room in which it came. */
function filledPart({ bytes, content }: Filled, roomBytes: number, path: string): Uint8Array {
  if (bytes > 0 && bytes <= roomBytes) return content.slice(0, bytes);
  return refuse(path, `1 to ${roomBytes} bytes`, `${bytes} bytes`);
}

function refuse(field: string, expected: string, found: string): never {
  throw nscqContentRefusals.error('nscq-answer', { field, expected, found });
}

export class NscqSystem implements SwitchSystem {
  readonly address: string;
  readonly switches: readonly NscqSwitch[];
  private readonly library: NscqLibrary;

  private constructor(library: NscqLibrary, switches: readonly NscqSwitch[]) {
    this.address = library.address;
    this.library = library;
    this.switches = switches;
  }

  /** Opens a session and finds the switches. @throws RefusalError `nscq-*` */
  static async open(options: NscqOptions = {}): Promise<NscqSystem> {
    const { library: path = NSCQ_LIBRARY, callSeconds = CALL_SECONDS } = options;
    const library = await NscqLibrary.open(path, callSeconds);
    try {
      const labels = await library.labels();
      return new NscqSystem(
        library,
        labels.map((label) => new NscqSwitch(library, label)),
      );
    } catch (error) {
      await library.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.library.close();
  }
}
