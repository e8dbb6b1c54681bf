/**
 * A service that answers as the transit engine of Vault does, over HTTPS on loopback, and takes nothing that Vault would
 * not take or that our client has no reason to send. Its keys really encrypt.
 */

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';

import { createDevelopmentAuthority } from '../../src/platform/tls-authority.ts';
import { systemClock } from '../../src/platform/clock.ts';

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const MOUNT = '/v1/transit/';

type Body = Readonly<Record<string, unknown>>;

interface ServiceKey {
  /** By version. */
  readonly versions: Map<number, Buffer>;
  latest: number;
  minAvailable: number;
  minDecryption: number;
  minEncryption: number;
  /** Replaces members of what is said of the key. */
  said: Body;
}

/** What a test makes the service do in place of, or after, what it is asked. */
export interface TransitTrouble {
  /** Counted from 0, from when the trouble is set; all later requests have it too while `once` is not set. */
  readonly request: number;
  /** `drop` ends the connection without an answer; `done` tells it from one that was not done. */
  readonly kind: 'drop' | 'drop-done' | 'hang' | { readonly status: number; readonly retryAfter?: string };
  readonly once?: boolean;
}

class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export class TransitService {
  readonly keys = new Map<string, ServiceKey>();
  /** Every request: method, path and body, as they came. */
  readonly requests: { readonly method: string; readonly path: string; readonly body: string }[] = [];
  token = 'hvs.test-token';
  namespace: string | undefined;
  /** In place of any right answer. */
  saying: string | undefined;
  private readonly server: Server;
  readonly authorityCertificate: string;
  private trouble: TransitTrouble | undefined;
  private sinceTrouble = 0;

  private constructor(server: Server, authorityCertificate: string) {
    this.server = server;
    this.authorityCertificate = authorityCertificate;
  }

  static async start(): Promise<TransitService> {
    const { authority, server: tls } = await createDevelopmentAuthority(
      ['127.0.0.1'],
      systemClock.posixSeconds(),
    );
    const server = createServer({ cert: tls.certificate, key: tls.privateKey });
    const service = new TransitService(server, authority.certificate);
    server.on('request', (incoming, outgoing) => void service.answer(incoming, outgoing));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return service;
  }

  get address(): string {
    return `https://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  setTrouble(trouble: TransitTrouble | undefined): void {
    this.trouble = trouble;
    this.sinceTrouble = 0;
  }

  troubleHappened(): boolean {
    return this.trouble !== undefined && this.sinceTrouble > this.trouble.request;
  }

  /** Makes a key as somebody at Vault would. */
  makeKey(name: string): ServiceKey {
    const made = { versions: new Map<number, Buffer>(), latest: 0, said: {} };
    const key = { ...made, minAvailable: 0, minDecryption: 1, minEncryption: 0 };
    this.keys.set(name, key);
    rotate(key);
    return key;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of incoming as AsyncIterable<Uint8Array>) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    const { method = '', url = '' } = incoming;
    this.requests.push({ method, path: url, body });
    const trouble = this.nextTrouble();
    if (trouble === 'drop') return void incoming.socket.destroy();
    if (trouble === 'hang') return;
    if (typeof trouble === 'object') {
      const after = trouble.retryAfter;
      outgoing.writeHead(trouble.status, after === undefined ? {} : { 'retry-after': after });
      return void outgoing.end(JSON.stringify({ errors: ['Vault is sealed'] }));
    }
    const { status, document } = this.respond(incoming, body);
    if (trouble === 'drop-done') return void incoming.socket.destroy();
    outgoing.writeHead(status, { 'content-type': 'application/json' });
    outgoing.end(this.saying ?? (status === 204 ? undefined : JSON.stringify(document)));
  }

  private nextTrouble(): TransitTrouble['kind'] | undefined {
    const { trouble } = this;
    if (trouble === undefined) return undefined;
    const number = this.sinceTrouble;
    this.sinceTrouble += 1;
    if (number < trouble.request) return undefined;
    if (number === trouble.request) return trouble.kind;
    // After the one that was done and not answered, the service is gone.
    return trouble.once === true ? undefined : trouble.kind === 'drop-done' ? 'drop' : trouble.kind;
  }

  private respond(
    { method, url = '', headers }: IncomingMessage,
    body: string,
  ): { status: number; document?: unknown } {
    try {
      if (headers['x-vault-token'] !== this.token) throw new Refused(403, 'permission denied');
      if (headers['x-vault-namespace'] !== this.namespace) throw new Refused(403, 'permission denied');
      if (headers['x-vault-request'] !== 'true') throw new Refused(412, 'required state not present');
      if (!url.startsWith(MOUNT)) throw new Refused(404, 'no handler for route');
      const parsed = method === 'POST' ? (JSON.parse(body) as Body) : {};
      const data = this.dispatch(`${method} ${url.slice(MOUNT.length)}`, parsed);
      return data === undefined
        ? { status: 204 }
        : { status: 200, document: { request_id: '1', data, warnings: null } };
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return { status: error.status, document: { errors: error.status === 404 ? [] : [error.message] } };
    }
  }

  private dispatch(request: string, body: Body): Body | undefined {
    const [, verb = '', name = '', action = ''] =
      /^([A-Z]+ [a-z]+)\/([\w.-]+)(?:\/([a-z]+))?$/.exec(request) ?? [];
    const call = `${verb}${action === '' ? '' : ` ${action}`}`;
    if (call === 'POST keys') return this.create(name, body);
    const key = this.keys.get(name);
    if (key === undefined) throw new Refused(call === 'GET keys' ? 404 : 400, 'encryption key not found');
    switch (call) {
      case 'GET keys':
        return describe(name, key);
      case 'POST encrypt':
        only(body, ['plaintext']);
        return {
          ciphertext: encrypt(key, Buffer.from(text(body, 'plaintext'), 'base64')),
          key_version: key.latest,
        };
      case 'POST decrypt':
        only(body, ['ciphertext']);
        return { plaintext: decrypt(key, text(body, 'ciphertext')).toString('base64') };
      case 'POST rewrap':
        only(body, ['ciphertext']);
        return { ciphertext: encrypt(key, decrypt(key, text(body, 'ciphertext'))), key_version: key.latest };
      case 'POST keys rotate':
        only(body, []);
        rotate(key);
        return undefined;
      case 'POST keys config':
        only(body, ['min_decryption_version', 'min_encryption_version']);
        configure(key, number(body, 'min_decryption_version'), number(body, 'min_encryption_version'));
        return describe(name, key);
      case 'POST keys trim':
        only(body, ['min_available_version']);
        trim(key, number(body, 'min_available_version'));
        return describe(name, key);
      default:
        throw new Refused(404, 'unsupported path');
    }
  }

  private create(name: string, body: Body): Body {
    only(body, ['type', 'derived', 'exportable', 'allow_plaintext_backup']);
    if (body['type'] !== 'aes256-gcm96' || body['derived'] !== false)
      throw new Refused(400, 'another kind of key');
    const key = this.keys.get(name) ?? this.makeKey(name);
    return describe(name, key);
  }
}

function only(body: Body, members: readonly string[]): void {
  const unknown = Object.keys(body).filter((member) => !members.includes(member));
  if (unknown.length > 0) throw new Refused(400, `unknown member ${unknown.join(', ')}`);
}

function text(body: Body, member: string): string {
  const value = body[member];
  if (typeof value !== 'string' || value === '') throw new Refused(400, `missing ${member}`);
  return value;
}

function number(body: Body, member: string): number {
  const value = body[member];
  if (typeof value !== 'number') throw new Refused(400, `missing ${member}`);
  return value;
}

function rotate(key: ServiceKey): void {
  key.latest += 1;
  key.versions.set(key.latest, randomBytes(32));
}

function encrypt(key: ServiceKey, plaintext: Buffer): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key.versions.get(key.latest)!, nonce);
  const parts = [nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()];
  return `vault:v${key.latest}:${Buffer.concat(parts).toString('base64')}`;
}

function decrypt(key: ServiceKey, ciphertext: string): Buffer {
  const [, version = '', encoded = ''] = /^vault:v([0-9]+):(.*)$/.exec(ciphertext) ?? [];
  if (version === '') throw new Refused(400, 'invalid ciphertext: no prefix');
  const wanted = Number(version);
  if (wanted > key.latest) throw new Refused(400, 'invalid ciphertext: version is too new');
  if (wanted < key.minDecryption)
    throw new Refused(400, 'ciphertext version is disallowed by policy (too old)');
  const bytes = Buffer.from(encoded, 'base64');
  if (bytes.length < NONCE_BYTES + TAG_BYTES) throw new Refused(400, 'invalid ciphertext length');
  const decipher = createDecipheriv('aes-256-gcm', key.versions.get(wanted)!, bytes.subarray(0, NONCE_BYTES));
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
  } catch {
    throw new Refused(400, 'cipher: message authentication failed');
  }
}

function configure(key: ServiceKey, minDecryption: number, minEncryption: number): void {
  if (Math.max(minDecryption, minEncryption) > key.latest)
    throw new Refused(400, 'latest key version is lower');
  if (minEncryption > 0 && minEncryption < minDecryption) throw new Refused(400, 'cannot set min values');
  if (minDecryption < key.minAvailable) throw new Refused(400, 'less than min available version');
  key.minDecryption = minDecryption;
  key.minEncryption = minEncryption;
}

function trim(key: ServiceKey, minAvailable: number): void {
  if (key.minEncryption === 0) throw new Refused(400, 'minimum encryption version is not set');
  if (minAvailable < key.minAvailable)
    throw new Refused(400, 'minimum available version cannot be decremented');
  if (minAvailable > Math.min(key.minEncryption, key.minDecryption))
    throw new Refused(400, 'greater than the minimum');
  key.minAvailable = minAvailable;
  for (const version of key.versions.keys()) if (version < minAvailable) key.versions.delete(version);
}

function describe(name: string, key: ServiceKey): Body {
  const listed = [...key.versions.keys()].filter((version) => version >= key.minDecryption);
  return {
    name,
    type: 'aes256-gcm96',
    derived: false,
    exportable: false,
    allow_plaintext_backup: false,
    deletion_allowed: false,
    latest_version: key.latest,
    min_available_version: key.minAvailable,
    min_decryption_version: key.minDecryption,
    min_encryption_version: key.minEncryption,
    supports_encryption: true,
    supports_decryption: true,
    keys: Object.fromEntries(listed.map((version) => [String(version), 1_700_000_000])),
    ...key.said,
  };
}
