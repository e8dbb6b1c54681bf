/** Arguments that several commands share, and how they are read. */

import { InvalidArgumentError, Option } from 'commander';

import { openSigningKey, type NamedSigner } from '../keys/signing-key.ts';
import { legible } from '../platform/legible.ts';
import { createHttpClient, type HttpClient } from '../platform/http-client.ts';
import { readServerProfile, type ServerProfile } from '../platform/server-profile.ts';
import { readPassphrase } from './passphrase.ts';

export const passphraseOption = (): Option =>
  new Option('--passphrase-file <file>', 'file whose first line is the passphrase; asked for otherwise');

export const profileOption = (): Option =>
  new Option('--profile <file>', 'server profile, as weightgate init writes it').makeOptionMandatory();

/** For options that may be given several times. */
export function collect(value: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, value];
}

/** @throws InvalidArgumentError, which commander shows with the name of the option */
export function parsePositiveInteger(text: string): number {
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw new InvalidArgumentError('It must be a positive whole number.');
  return Number(text);
}

export interface Pair {
  readonly name: string;
  readonly value: string;
}

function parsePair(text: string): Pair {
  const at = text.indexOf('=');
  if (at < 1 || at === text.length - 1) throw new InvalidArgumentError('It must be name=value.');
  return { name: text.slice(0, at), value: text.slice(at + 1) };
}

/** The same for options of the form `name=value`. @throws InvalidArgumentError */
export function collectPairs(text: string, earlier: readonly Pair[] = []): readonly Pair[] {
  return [...earlier, parsePair(text)];
}

/** `host:port`, with an IPv6 address in brackets. */
export function parseListen(text: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) throw new InvalidArgumentError('It must be host:port.');
  return { host, port };
}

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

/** Progress and remarks go to standard error (CL-4). @param line as for `print` */
export function remark(line: string): void {
  process.stderr.write(`${legible(line)}\n`);
}
