/** Reports through the driver's own device (docs/spec/sev-snp-agent.md, section 3), by ioctl(2) through koffi. */

import { open, type FileHandle } from 'node:fs/promises';

import koffi from 'koffi';

import { REPORT_BYTES } from '../../attestation/sev-snp/layout.ts';
import { encode } from '../../attestation/core/layout.ts';
import { libc, MAP_FAILED, MAP_PRIVATE_ANONYMOUS } from '../memory/libc.ts';
import { whileBusy, type SevGuest, type SevGuestReport } from './guest.ts';
import {
  cutCertificateTable,
  envelope,
  ENVELOPE_BYTES,
  exitInformationOf,
  HostError,
  MAX_TABLE_BYTES,
  NOT_SENT,
  PAGE_BYTES,
  readResponse,
  Request,
  REQUEST_BYTES,
  RESPONSE_BYTES,
  wantedCertificateBytes,
  writeRequest,
} from './messages.ts';
import { sevGuestMachineRefusals } from './refusals.ts';

/** ioctl(2), on another thread: the driver itself waits for up to a minute while the host throttles the guest. */
export type Ioctl = (descriptor: number, request: number, argument: bigint) => Promise<number>;

/** Room for root, intermediate and chip certificate in PEM. */
const FIRST_TABLE_BYTES = 2 * PAGE_BYTES;
const FIRST_PAUSE_MILLISECONDS = 200;

/** Where things lie in the memory of one exchange; the table comes last and is as long as it has to be. */
const PLACES = { envelope: 0, request: 256, response: PAGE_BYTES, table: 2 * PAGE_BYTES } as const;

/** Finds ioctl in this process or, for tests, in a library. @throws RefusalError `sev-guest-missing` */
export function ioctlOf(library: string | null = null): Ioctl {
  try {
    const call = koffi.load(library).func('int ioctl(int, unsigned long, void *)') as unknown as {
      async(...values: readonly unknown[]): void;
    };
    return (...values) =>
      new Promise((resolve, reject) => {
        call.async(...values, (error: Error | null, result: number) => {
          if (error === null) resolve(result);
          else reject(error);
        });
      });
  } catch (cause) {
    const facts = { field: 'ioctl', expected: 'a function of this system', found: 'none' };
    throw sevGuestMachineRefusals.error('sev-guest-missing', facts, { cause });
  }
}

/** How one exchange ended. */
type Exchange = SevGuestReport | 'busy' | 'unknown-request' | { readonly roomBytes: number };

export class DeviceSevGuest implements SevGuest {
  readonly address: string;
  private readonly path: string;
  private readonly ioctl: Ioctl;
  private readonly firstPauseMilliseconds: number;

  /** @param path `/dev/sev-guest` */
  constructor(path: string, ioctl: Ioctl = ioctlOf(), firstPauseMilliseconds = FIRST_PAUSE_MILLISECONDS) {
    this.address = `device:${path}`;
    this.path = path;
    this.ioctl = ioctl;
    this.firstPauseMilliseconds = firstPauseMilliseconds;
  }

  /** SA-9: with certificates where the driver knows how, without where it does not. */
  async report(reportData: Uint8Array): Promise<SevGuestReport> {
    const device = await this.openDevice();
    try {
      let tableBytes = FIRST_TABLE_BYTES;
      for (;;) {
        const exchange = await this.repeat(device, reportData, tableBytes);
        if (exchange === 'unknown-request' && tableBytes === 0)
          throw this.refused('request', 'one that it knows');
        if (exchange === 'unknown-request') tableBytes = 0;
        else if ('roomBytes' in exchange) tableBytes = this.growTo(exchange.roomBytes, tableBytes);
        else return exchange;
      }
    } finally {
      await device.close();
    }
  }

  private repeat(
    device: FileHandle,
    reportData: Uint8Array,
    tableBytes: number,
  ): Promise<Exclude<Exchange, 'busy'>> {
    return whileBusy(this.address, this.firstPauseMilliseconds, () =>
      this.exchange(device, reportData, tableBytes),
    );
  }

  private async openDevice(): Promise<FileHandle> {
    try {
      return await open(this.path, 'r+');
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error';
      const facts = { field: this.address, expected: 'a device that opens', found: code };
      const isForbidden = code === 'EACCES' || code === 'EPERM';
      const refusal = isForbidden ? 'sev-guest-not-permitted' : 'sev-guest-missing';
      throw sevGuestMachineRefusals.error(refusal, facts, { cause });
    }
  }

  /** SA-10. The size is the host's wish, so it is bounded and must grow. */
  private growTo(wantedBytes: number, tableBytes: number): number {
    if (wantedBytes > tableBytes && wantedBytes <= MAX_TABLE_BYTES && wantedBytes % PAGE_BYTES === 0)
      return wantedBytes;
    throw this.refused(
      'certificates',
      `pages, more than ${tableBytes} and at most ${MAX_TABLE_BYTES} bytes`,
      `${wantedBytes}`,
    );
  }

  /** @param tableBytes room for certificates; 0 asks for a report alone */
  private async exchange(device: FileHandle, reportData: Uint8Array, tableBytes: number): Promise<Exchange> {
    using memory = new ExchangeMemory(PLACES.table + tableBytes);
    memory.write(
      PLACES.request,
      writeRequest({
        userData: reportData,
        vmpl: 0,
        certificatesAddress: memory.address(PLACES.table),
        certificatesBytes: tableBytes,
      }),
    );
    memory.write(PLACES.envelope, envelopeOf(memory));
    const request = tableBytes === 0 ? Request.report : Request.extendedReport;
    const result = await this.ioctl(device.fd, request, memory.address(PLACES.envelope));
    const exit = exitInformationOf(memory.read(PLACES.envelope, ENVELOPE_BYTES));
    if (exit === 'not-sent') return this.notSent(result, tableBytes);
    if (exit.host === HostError.busy) return 'busy';
    if (exit.host === HostError.invalidLength && tableBytes > 0) {
      return { roomBytes: wantedCertificateBytes(memory.read(PLACES.request, REQUEST_BYTES)) };
    }
    if (result !== 0 || exit.host !== HostError.none || exit.firmware !== 0) {
      throw this.refused('report', 'no error', `firmware error ${exit.firmware}, host error ${exit.host}`);
    }
    return this.readExchange(memory, tableBytes);
  }

  /** The request did not leave the guest: the driver does not know it, or could not send it. */
  private notSent(result: number, tableBytes: number): Exchange {
    if (result !== 0 && tableBytes > 0) return 'unknown-request';
    throw this.refused('report', 'a request that reaches the firmware', `one that the driver did not send`);
  }

  private readExchange(memory: ExchangeMemory, tableBytes: number): SevGuestReport {
    const { status, report } = readResponse(memory.read(PLACES.response, RESPONSE_BYTES), REPORT_BYTES);
    if (status !== 0) throw this.refused('response.status', '0', `0x${status.toString(16)}`);
    return { report, certificateTable: cutCertificateTable(memory.read(PLACES.table, tableBytes)) };
  }

  private refused(field: string, expected: string, found = 'none'): Error {
    return sevGuestMachineRefusals.error('sev-guest-refused', {
      field: `${this.address} ${field}`,
      expected,
      found,
    });
  }
}

function envelopeOf(memory: ExchangeMemory): Uint8Array {
  const members = {
    messageVersion: 1,
    requestAddress: memory.address(PLACES.request),
    responseAddress: memory.address(PLACES.response),
    exitInformation: NOT_SENT,
  };
  return encode(envelope, members, 'request');
}

/** Memory that does not move while the driver works with its addresses. Nothing secret is in it. */
class ExchangeMemory implements Disposable {
  private readonly start: bigint;
  private readonly bytes: number;

  constructor(bytes: number) {
    this.bytes = bytes;
    this.start = libc().mmap(bytes, MAP_PRIVATE_ANONYMOUS, -1);
    if (this.start !== MAP_FAILED) return;
    throw sevGuestMachineRefusals.error('sev-guest-refused', {
      field: 'memory',
      expected: `${bytes} bytes`,
      found: 'none',
    });
  }

  address(offset: number): bigint {
    return this.start + BigInt(offset);
  }

  write(offset: number, bytes: Uint8Array): void {
    libc().copy(this.address(offset), bytes, bytes.length);
  }

  read(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    libc().copy(bytes, this.address(offset), length);
    return bytes;
  }

  [Symbol.dispose](): void {
    libc().munmap(this.start, this.bytes);
  }
}
