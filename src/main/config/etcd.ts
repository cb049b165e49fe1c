import * as z from 'zod';
import type { EtcdOptions } from '../../meta/etcd-options.js';
import { path } from './fields.js';
import { readNamed } from './named-file.js';

const text = (what: string) => z.string(`it has to be ${what}`).min(1, `it has to be ${what}`);

/** Where the metadata of a cluster is. */
export const etcdConfig = z
  .strictObject({
    endpoints: z.array(text('a URL like https://10.0.0.1:2379'), 'it has to be a list of URLs').min(1, 'it needs at least one URL'),
    ca: path.optional(),
    cert: path.optional(),
    key: path.optional(),
    user: text('the name of a user').optional(),
    passwordFile: path.optional(),
    namespace: text('a prefix of keys, like "gatepath/"').optional(),
  })
  .check(({ value, issues }) => {
    const together = (a: keyof typeof value, b: keyof typeof value): void => {
      const [there, missing] = value[a] === undefined ? [b, a] : [a, b];
      if ((value[a] === undefined) === (value[b] === undefined)) return;
      issues.push({ code: 'custom', input: value, path: [there], message: `it needs "${missing}" beside it` });
    };
    together('cert', 'key');
    together('user', 'passwordFile');
    if (value.cert !== undefined && value.ca === undefined) {
      issues.push({ code: 'custom', input: value, path: ['cert'], message: 'it needs "ca" beside it: etcd has to show who it is, too' });
    }
  });
export type EtcdConfig = z.infer<typeof etcdConfig>;

/** Reads the files that the section names. */
export function etcdOptions(config: EtcdConfig): EtcdOptions {
  const { endpoints, ca, cert, key, user, passwordFile, namespace } = config;
  const tls =
    ca === undefined
      ? null
      : {
          ca: readNamed('etcd.ca', ca),
          ...(cert === undefined ? {} : { cert: readNamed('etcd.cert', cert) }),
          ...(key === undefined ? {} : { key: readNamed('etcd.key', key) }),
        };
  return {
    endpoints,
    tls,
    user:
      user === undefined || passwordFile === undefined
        ? null
        : { name: user, password: readNamed('etcd.passwordFile', passwordFile).toString('utf8').trim() },
    ...(namespace === undefined ? {} : { namespace }),
  };
}
