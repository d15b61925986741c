# A small service in a container.
from multiprocessing import cpu_count
from os import environ as env

port = env.get('PORT', '8080')
bind = ['0.0.0.0:%s' % port, "[::]:{}".format(port)]
workers = cpu_count()
worker_class = 'uvicorn.workers.UvicornWorker'
certfile = None
proxy_protocol = True
proxy_allow_ips = '*'
reuse_port = True
user = env['RUN_AS']
logconfig_dict = dict(version=1)
try:
    from local import *
except ImportError:
    pass
