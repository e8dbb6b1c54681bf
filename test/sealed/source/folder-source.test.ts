import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

import { describe, expect, it, onTestFinished } from 'vitest';

import { SealedBundle } from '../../../src/sealed/reader.ts';
import { FolderSource } from '../../../src/sealed/source/folder-source.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { modelKeyMemory, temporaryFolder, TRUST, writeFolder } from '../fixtures.ts';
import { plaintext, readAll, sealed, WEIGHTS } from './mirrored-bundle.ts';

const SIZE = plaintext.get(WEIGHTS)!.length;

interface Snapshot {
  readonly folder: string;
  readonly repository: string;
  blobOf(path: string): string;
}

/** The bundle as the hub's programs keep it: blobs by digest, and a revision of links. */
function writeSnapshot(kind = 'models'): Snapshot {
  const repository = join(temporaryFolder(), `${kind}--lab--model`);
  const folder = join(repository, 'snapshots', '5e1fc0de');
  mkdirSync(join(repository, 'blobs'), { recursive: true });
  const blobOf = (path: string): string => {
    const content = sealed.get(path)!;
    // Small files are named by git's digest, large ones by SHA-256.
    const digest = createHash(content.length < 1000 ? 'sha1' : 'sha256')
      .update(content)
      .digest('hex');
    return join(repository, 'blobs', digest);
  };
  for (const [path, content] of sealed) {
    const place = join(folder, path);
    mkdirSync(dirname(place), { recursive: true });
    writeFileSync(blobOf(path), content);
    symlinkSync(relative(dirname(place), blobOf(path)), place);
  }
  writeFileSync(join(folder, '.gitattributes'), '*.bin filter=lfs');
  writeFileSync(join(folder, 'README.md'), '# A model');
  return { folder, repository, blobOf };
}

const openCode = (folder: string): Promise<string> =>
  refusalCodeAsync(() => SealedBundle.open(folder, TRUST));

describe('a snapshot in the cache of the hub', () => {
  it.each(['models', 'datasets'])(
    'SW-31, SW-32: %s are verified and opened through their links',
    async (kind) => {
      const bundle = await SealedBundle.open(writeSnapshot(kind).folder, TRUST);
      await bundle.verify();
      const modelKey = modelKeyMemory();
      const unlocked = bundle.unlock(modelKey);
      modelKey.close();
      onTestFinished(() => {
        unlocked.close();
      });
      for (const [path, bytes] of await readAll(unlocked)) {
        expect(Buffer.compare(bytes, plaintext.get(path)!), path).toBe(0);
      }
    },
  );

  it('SW-31: the folder may be named through a link itself', async () => {
    const { folder } = writeSnapshot();
    const link = join(temporaryFolder(), 'link');
    symlinkSync(folder, link);
    await (await SealedBundle.open(link, TRUST)).verify();
  });

  const damages: readonly (readonly [string, string, (snapshot: Snapshot) => void])[] = [
    [
      'an absolute link to its blob',
      'sealed-file-kind',
      (s) => {
        relink(s, s.blobOf('config.json'));
      },
    ],
    [
      'a link to a blob of no digest',
      'sealed-file-kind',
      (s) => {
        renameSync(s.blobOf('config.json'), join(s.repository, 'blobs/config'));
        relink(s, '../../blobs/config');
      },
    ],
    [
      'a link below a blob',
      'sealed-file-kind',
      (s) => {
        relink(s, `../../blobs/${'a'.repeat(40)}/x`);
      },
    ],
    [
      'a link out of the repository',
      'sealed-file-kind',
      (s) => {
        relink(s, '../../../../etc/passwd');
      },
    ],
    [
      'a link to blobs of another repository',
      'sealed-file-kind',
      (s) => {
        relink(s, `../../../models--other--model/blobs/${'a'.repeat(40)}`);
      },
    ],
    [
      'a link to another file of the snapshot',
      'sealed-file-kind',
      (s) => {
        relink(s, 'README.md');
      },
    ],
    [
      'a blob that is not there',
      'sealed-file-missing',
      (s) => {
        rmSync(s.blobOf('config.json'));
      },
    ],
    [
      'a blob that is a link',
      'sealed-file-kind',
      (s) => {
        const blob = s.blobOf('config.json');
        renameSync(blob, `${blob}x`);
        symlinkSync(`${blob}x`, blob);
      },
    ],
    [
      'a blob that is a folder',
      'sealed-file-kind',
      (s) => {
        rmSync(s.blobOf('config.json'));
        mkdirSync(s.blobOf('config.json'));
      },
    ],
    [
      'blobs that are a link',
      'sealed-file-kind',
      (s) => {
        renameSync(join(s.repository, 'blobs'), join(s.repository, 'elsewhere'));
        symlinkSync('elsewhere', join(s.repository, 'blobs'));
      },
    ],
    [
      'a folder that is a link',
      'sealed-file-kind',
      (s) => {
        renameSync(join(s.folder, 'weights'), join(s.repository, 'weights'));
        symlinkSync('../../weights', join(s.folder, 'weights'));
      },
    ],
    [
      'a file of another size',
      'sealed-file-size',
      (s) => {
        writeFileSync(s.blobOf('config.json'), 'four');
      },
    ],
    [
      'a file that the hub does not add',
      'sealed-file-extra',
      (s) => {
        writeFileSync(join(s.folder, 'model.py'), '');
      },
    ],
    [
      'a link that the hub does not add',
      'sealed-file-extra',
      (s) => {
        symlinkSync(relative(s.folder, s.blobOf('config.json')), join(s.folder, 'model.py'));
      },
    ],
    [
      'a nested README.md',
      'sealed-file-extra',
      (s) => {
        writeFileSync(join(s.folder, 'weights/README.md'), '');
      },
    ],
  ];
  function relink({ folder }: Snapshot, text: string): void {
    rmSync(join(folder, 'config.json'));
    symlinkSync(text, join(folder, 'config.json'));
  }
  it.each(damages)('SW-4, SW-31, SW-32: %s is %s', async (_name, code, damage) => {
    const snapshot = writeSnapshot();
    damage(snapshot);
    expect(await openCode(snapshot.folder)).toBe(code);
  });

  it('SW-31: a link is checked again when its file is opened', async () => {
    const snapshot = writeSnapshot();
    const bundle = await SealedBundle.open(snapshot.folder, TRUST);
    relink(snapshot, '/etc/passwd');
    expect(await refusalCodeAsync(() => bundle.source.open('config.json', 3))).toBe('sealed-file-kind');
    expect(await refusalCodeAsync(() => bundle.verify())).toBe('sealed-file-kind');
  });

  it('SW-31: the same links are refused where the folder is no snapshot', async () => {
    const { folder, repository } = writeSnapshot();
    const elsewhere = join(repository, 'revisions', '5e1fc0de');
    mkdirSync(dirname(elsewhere));
    renameSync(folder, elsewhere);
    expect(await openCode(elsewhere)).toBe('sealed-file-kind');
  });
});

describe('a plain folder', () => {
  it("SW-32: may hold the hub's own files only where the hub has left its notes", async () => {
    const folder = writeFolder(sealed);
    writeFileSync(join(folder, 'README.md'), '');
    expect(await openCode(folder)).toBe('sealed-file-extra');
    mkdirSync(join(folder, '.cache/huggingface/download'), { recursive: true });
    writeFileSync(join(folder, '.cache/huggingface/download/config.json.metadata'), '');
    writeFileSync(join(folder, '.gitattributes'), '');
    expect(await openCode(folder)).toBe('accepted');
    writeFileSync(join(folder, '.cache/other'), '');
    expect(await openCode(folder)).toBe('sealed-file-extra');
  });

  it('gives a descriptor, and the same bytes into memory by either way', async () => {
    const source = await FolderSource.at(writeFolder(sealed));
    const file = await source.open(WEIGHTS, SIZE);
    onTestFinished(() => file.close());
    expect(file.fileDescriptor).toBeGreaterThan(2);
    const target = new Uint8Array(1000);
    await file.read(target, SIZE - 500, 500);
    expect(Buffer.compare(target.subarray(0, 500), sealed.get(WEIGHTS)!.subarray(SIZE - 500))).toBe(0);
    expect(target.subarray(500).every((byte) => byte === 0)).toBe(true);
    expect(await refusalCodeAsync(() => file.read(target, SIZE - 500, 501))).toBe('sealed-file-size');
    const signal = AbortSignal.abort();
    expect(await refusalCodeAsync(() => file.read(target, 0, 1, { signal }))).toBe('sealed-interrupted');
  });
});
