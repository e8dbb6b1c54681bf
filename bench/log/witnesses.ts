/** Witnesses on this machine, one for each log that is measured, with a record that is durable as theirs is. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { formatVerifierKey } from '../../src/log/verifier-key.ts';
import { ed25519WitnessSigner, Witness } from '../../src/log/witness.ts';
import {
  createWitnessState,
  openWitnessState,
  type SqliteWitnessState,
} from '../../src/log/witness-state.ts';
import { createDevelopmentAuthority } from '../../src/platform/tls-authority.ts';
import { newLogKey, noteSignature, publicKeyOf, signerOf, ORIGIN } from './work.ts';

const NAME = 'witness.bench.example';

export class LocalWitnesses implements AsyncDisposable {
  private readonly server: Server;
  private readonly authorityCertificate: string;
  private readonly folder: string;
  private readonly witnesses = new Map<string, Witness>();
  private readonly states: SqliteWitnessState[] = [];

  private constructor(server: Server, authorityCertificate: string, folder: string) {
    this.server = server;
    this.authorityCertificate = authorityCertificate;
    this.folder = folder;
    server.on('request', (incoming, outgoing) => void this.answer(incoming, outgoing));
  }

  static async start(): Promise<LocalWitnesses> {
    const { authority, server } = await createDevelopmentAuthority([], Math.floor(Date.now() / 1000));
    const listener = createServer({ cert: server.certificate, key: server.privateKey });
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    const folder = await mkdtemp(join(tmpdir(), 'weightgate-bench-witness-'));
    return new LocalWitnesses(listener, authority.certificate, folder);
  }

  /** @param privateKey of the log @returns the policy by which the log asks its witness */
  add(privateKey: string): { readonly policy: string; readonly authorityCertificate: string } {
    const logKey = signerOf(privateKey).key;
    const key = newLogKey();
    const signer = ed25519WitnessSigner(NAME, {
      publicKey: publicKeyOf(key),
      sign: (message) => noteSignature(key, message),
    });
    const number = this.witnesses.size;
    const path = join(this.folder, `${number}.sqlite`);
    createWitnessState(path);
    const state = openWitnessState(path);
    this.states.push(state);
    const now = (): number => Math.floor(Date.now() / 1000);
    const logs = [{ origin: ORIGIN, keys: [logKey] }];
    this.witnesses.set(`/${number}/add-checkpoint`, new Witness({ signers: [signer], logs, state, now }));
    const url = `https://127.0.0.1:${(this.server.address() as AddressInfo).port}/${number}`;
    const { authorityCertificate } = this;
    const lines = [`log ${formatVerifierKey(logKey)}`, `witness one ${formatVerifierKey(signer.key)} ${url}`];
    return { policy: `${lines.join('\n')}\nquorum one\n`, authorityCertificate };
  }

  private async answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    for await (const piece of incoming) pieces.push(piece as Buffer);
    const witness = this.witnesses.get(incoming.url ?? '');
    if (witness === undefined) {
      outgoing.writeHead(404).end();
      return;
    }
    const { status, contentType, body } = await witness.addCheckpoint(Buffer.concat(pieces));
    outgoing.writeHead(status, { 'content-type': contentType }).end(body);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
    for (const state of this.states) state.close();
    await rm(this.folder, { recursive: true });
  }
}
