/** Options that several commands share, and what is opened by them. */

import { Option } from 'commander';

import { toBase64 } from '../../attestation/core/bytes.ts';
import { ORDINARY_LOG_FILES } from '../agent/tpm/measurement-logs.ts';
import { publicKeyField } from '../governance/fields.ts';
import { openSigningKey, readSigningKeyIdentity, type NamedSigner } from '../keys/signing-key.ts';
import { createHttpClient, type HttpClient } from '../platform/http-client.ts';
import { legible } from '../platform/legible.ts';
import { readServerProfile, type ServerProfile } from '../platform/server-profile.ts';
import { collect, parseListen } from './arguments.ts';
import { readPassphrase } from './passphrase.ts';

/** Where `init` puts the profile in a server home. */
export const PROFILE = 'profile.json';

export const passphraseOption = (): Option =>
  new Option('--passphrase-file <file>', 'file whose first line is the passphrase; asked for otherwise');

export const profileOption = (): Option =>
  new Option('--profile <file>', 'server profile, as weightgate init writes it').makeOptionMandatory();

export const signersOption = (): Option =>
  new Option('--key <file>', 'signing key of a person of the trust root; several times')
    .argParser(collect)
    .makeOptionMandatory();

export const statementOption = (): Option =>
  new Option('--statement <file>', 'write the statement to a new file too, for `statement sign` elsewhere');

/** @param address the default, as a person would type it */
export const listenOption = (description: string, address: string): Option =>
  new Option('--listen <host:port>', description)
    .argParser(parseListen)
    .default(parseListen(address), address);

export const tpmOption = (): Option =>
  new Option('--tpm <tcti>', 'the TPM: device:/dev/tpmrm0, swtpm:host=…,port=…, tabrmd:').default(
    'device:/dev/tpmrm0',
  );

/** For machines whose kernel shows its logs elsewhere, and for software TPMs. */
export const tpmEventLogOption = (): Option =>
  new Option('--tpm-event-log <file>', 'the boot event log').default(ORDINARY_LOG_FILES.eventLog);

export const tpmImaListOption = (): Option =>
  new Option('--tpm-ima-list <file>', 'the list of files that the kernel measured').default(
    ORDINARY_LOG_FILES.imaList,
  );

export const nvidiaGpuOption = (): Option =>
  new Option('--nvidia-gpu <address>', 'the GPUs: nvml, nvml:PATH, simulated:FOLDER').default('auto');

/** Runs work with a connection to the server of a profile and closes it. */
export async function withServer<T>(
  profilePath: string,
  work: (client: HttpClient, profile: ServerProfile) => Promise<T>,
): Promise<T> {
  const profile = await readServerProfile(profilePath);
  const client = createHttpClient({
    address: profile.address,
    authorityCertificate: profile.authorityCertificate,
  });
  try {
    return await work(client, profile);
  } finally {
    client.close();
  }
}

/**
 * The public key of somebody else, as `weightgate key show` prints it, or of a signing key file on this machine.
 *
 * @returns canonical base64
 * @throws RefusalError `file-*`, `json-*`, `shape-mismatch`
 */
export async function readPublicKey(keyOrFile: string): Promise<string> {
  if (publicKeyField.safeParse(keyOrFile).success) return keyOrFile;
  return toBase64((await readSigningKeyIdentity(keyOrFile)).publicKey);
}

/** Opens signing keys one after another; without a file each passphrase is asked for. */
export async function openSigningKeys(
  paths: readonly string[],
  passphraseFile: string | undefined,
): Promise<readonly NamedSigner[]> {
  const signers: NamedSigner[] = [];
  for (const path of paths) {
    signers.push(await openSigningKey(path, await readPassphrase(passphraseFile, path)));
  }
  return signers;
}

/** Results go to standard output (CL-4). @param line may hold what a server or a log said */
export function print(line: string): void {
  process.stdout.write(`${legible(line)}\n`);
}

/** As `print`, without ending the line. */
export function printPiece(piece: string): void {
  process.stdout.write(legible(piece));
}

/** Progress and remarks go to standard error (CL-4). @param line as for `print` */
export function remark(line: string): void {
  process.stderr.write(`${legible(line)}\n`);
}
