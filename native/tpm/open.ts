/** Opens the TPM that a TCTI text names, and says clearly why when that fails. */

import { open } from 'node:fs/promises';

import { RefusalError } from '../../attestation/core/refusal.ts';
import { tpmConnectionRefusals, tpmMachineRefusals } from './refusals.ts';
import { SwtpmSocketTransport } from './swtpm-socket.ts';
import { parseTctiAddress, type TctiAddress } from './tcti-address.ts';
import { TctiTransport } from './tctildr.ts';
import type { TpmTransport } from './transport.ts';

/** TPM2_GetTestResult without sessions: changes nothing and is answered by every TPM, also before its start-up. */
const PROBE = Uint8Array.of(0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x7c);

export interface OpenTpmOptions {
  /** How long one command may take; making an RSA key takes a slow TPM more than a minute. */
  readonly commandTimeoutSeconds?: number;
  /** How long the TPM may take until it answers for the first time. */
  readonly openTimeoutSeconds?: number;
  /** `stack` and `socket` insist on one way; by default the stack is used, and the socket where it is missing. */
  readonly through?: 'stack' | 'socket';
}

/**
 * @param address TCTI text: `device:/dev/tpmrm0`, `swtpm:host=…,port=…`, `swtpm:path=…` or `tabrmd:…`
 * @throws RefusalError `tpm-address-malformed`, `tpm-library-missing`, `tpm-missing`, `tpm-not-permitted`,
 *   `tpm-unreachable`, `tpm-busy`, `tpm-timeout`, `tpm-connection-lost`, `tpm-response-malformed`
 */
export async function openTpm(address: string, options: OpenTpmOptions = {}): Promise<TpmTransport> {
  const tcti = parseTctiAddress(address);
  const limits = {
    commandSeconds: options.commandTimeoutSeconds ?? 180,
    openSeconds: options.openTimeoutSeconds ?? 15,
  };
  let transport: TpmTransport | undefined;
  try {
    transport = await connectTo(tcti, limits, options.through);
    await transport.transmit(PROBE, limits.openSeconds);
    return transport;
  } catch (error) {
    await transport?.close();
    throw silenceAsBusy(error, tcti, limits.openSeconds);
  }
}

interface Limits {
  readonly openSeconds: number;
  readonly commandSeconds: number;
}

async function connectTo(
  tcti: TctiAddress,
  limits: Limits,
  through: OpenTpmOptions['through'],
): Promise<TpmTransport> {
  if (through === 'socket') return socketTo(tcti, limits);
  try {
    return await TctiTransport.open(tcti, limits.openSeconds, limits.commandSeconds);
  } catch (error) {
    const code = refusalCode(error);
    const libraryMissing = code === 'tpm-library-missing';
    if (libraryMissing && tcti.kind === 'swtpm' && through === undefined) return socketTo(tcti, limits);
    if (tcti.kind === 'device' && code === 'tpm-unreachable') throw await diagnoseDevice(tcti.path, error);
    throw error;
  }
}

function refusalCode(error: unknown): string | undefined {
  return error instanceof RefusalError ? (error as RefusalError).refusal.code : undefined;
}

function socketTo(tcti: TctiAddress, { commandSeconds }: Limits): TpmTransport {
  if (tcti.kind !== 'swtpm') {
    throw tpmMachineRefusals.error('tpm-library-missing', {
      field: tcti.text,
      expected: 'the TPM stack, which this address needs',
      found: 'a plain socket, which reaches simulators only',
    });
  }
  return new SwtpmSocketTransport({ address: tcti.text, endpoint: tcti.endpoint, commandSeconds });
}

/**
 * Silence instead of a first answer is the mark of a simulator that serves another client: it accepts the connection
 * and lets it wait. For a caller that means busy, not that a command took too long.
 */
function silenceAsBusy(error: unknown, tcti: TctiAddress, openSeconds: number): unknown {
  if (refusalCode(error) !== 'tpm-timeout') return error;
  return tpmConnectionRefusals.error(
    'tpm-busy',
    {
      field: tcti.text,
      expected: `a first answer within ${openSeconds} s`,
      found: 'silence: another program holds the TPM, or it is suspended',
    },
    { cause: error },
  );
}

/** The stack reports every failure of a device as one code; the operating system knows which it was. */
async function diagnoseDevice(path: string, failure: unknown): Promise<unknown> {
  try {
    const device = await open(path, 'r+');
    await device.close();
    return failure;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    const facts = { field: path, expected: 'a TPM device that opens', found: code };
    if (code === 'EBUSY') return tpmConnectionRefusals.error('tpm-busy', facts);
    if (code === 'EACCES' || code === 'EPERM') return tpmMachineRefusals.error('tpm-not-permitted', facts);
    return tpmMachineRefusals.error('tpm-missing', facts);
  }
}
