/** The text that says where the TPM is, in the form that tpm2-tools and libtss2-tctildr use: `name:configuration`. */

import { excerpt } from '../../attestation/core/bytes.ts';
import { tpmAddressRefusals } from './refusals.ts';

export type TctiAddress =
  | { readonly kind: 'device'; readonly text: string; readonly path: string }
  | { readonly kind: 'swtpm'; readonly text: string; readonly endpoint: SwtpmEndpoint }
  | { readonly kind: 'tabrmd'; readonly text: string };

/** Where a simulator listens: a TCP port, or a socket in the file system. */
export type SwtpmEndpoint = { readonly host: string; readonly port: number } | { readonly path: string };

/** What libtss2-tcti-swtpm uses when a member is left out. */
const SWTPM_DEFAULTS = { host: 'localhost', port: '2321' };

/** @throws RefusalError `tpm-address-malformed` */
export function parseTctiAddress(text: string): TctiAddress {
  const colon = text.indexOf(':');
  const name = colon < 0 ? text : text.slice(0, colon);
  const configuration = colon < 0 ? '' : text.slice(colon + 1);
  if (/[^\x21-\x7e]/.test(text)) refuse('printable characters without spaces', text);
  switch (name) {
    case 'device':
      if (!configuration.startsWith('/')) refuse('device: and an absolute path', text);
      return { kind: 'device', text, path: configuration };
    case 'swtpm':
      return { kind: 'swtpm', text, endpoint: parseSwtpmEndpoint(configuration, text) };
    case 'tabrmd':
      return { kind: 'tabrmd', text };
    default:
      return refuse('device:, swtpm: or tabrmd:', text);
  }
}

function parseSwtpmEndpoint(configuration: string, text: string): SwtpmEndpoint {
  const members = new Map<string, string>();
  for (const member of configuration === '' ? [] : configuration.split(',')) {
    const equals = member.indexOf('=');
    const name = member.slice(0, equals);
    if (equals < 1 || members.has(name)) refuse('members name=value, each once', text);
    members.set(name, member.slice(equals + 1));
  }
  const { path, host = SWTPM_DEFAULTS.host, port = SWTPM_DEFAULTS.port, ...unknown } = toRecord(members);
  if (Object.keys(unknown).length > 0) refuse('only host, port or path', text);
  if (path !== undefined) {
    if (members.size > 1 || !path.startsWith('/')) refuse('one absolute path and nothing else', text);
    return { path };
  }
  // The control channel is the port after this one, so the last port cannot be a data channel.
  if (!/^[1-9][0-9]{0,4}$/.test(port) || Number(port) > 65534) refuse('a port from 1 to 65534', text);
  if (host === '') refuse('a host', text);
  return { host, port: Number(port) };
}

function toRecord(members: ReadonlyMap<string, string>): Partial<Record<string, string>> & {
  path?: string;
  host?: string;
  port?: string;
} {
  return Object.fromEntries(members);
}

function refuse(expected: string, found: string): never {
  throw tpmAddressRefusals.error('tpm-address-malformed', { field: 'tpm', expected, found: excerpt(found) });
}
