# Django Channels, as Debian packages it: a page and many WebSockets in one process, which hear each other. It does not matter which MPM passes
# the bytes on (t/23upgrade.t).
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;
use WS;

plan skip_all => 'Django Channels is not there' if system('/usr/bin/python3 -c "import django, channels" 2>/dev/null') != 0;
my $h = Harness->new;
my $app = $h->make_app('chan', { 'passenger_wsgi.py' => <<'END' });
import django
from django.conf import settings
settings.configure(SECRET_KEY='x' * 50, ALLOWED_HOSTS=['*'], ROOT_URLCONF=__name__, INSTALLED_APPS=['channels'],
                   CHANNEL_LAYERS={'default': {'BACKEND': 'channels.layers.InMemoryChannelLayer'}})
django.setup()
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.generic.websocket import AsyncWebsocketConsumer
urlpatterns = [path('', lambda request: HttpResponse('page'))]
class Chat(AsyncWebsocketConsumer):
    async def connect(self):
        await self.channel_layer.group_add('all', self.channel_name)
        await self.accept()
    async def receive(self, text_data=None, bytes_data=None):
        await self.channel_layer.group_send('all', {'type': 'say', 'text': text_data})
    async def say(self, event):
        await self.send(text_data=event['text'])
application = ProtocolTypeRouter({'http': get_asgi_application(), 'websocket': URLRouter([path('chat', Chat.as_asgi())])})
END
$h->start(conf => <<"END");
DocumentRoot $app/public
PassengerMaxInstances 1
<VirtualHost *>
    ServerName below
    Alias /django $app/public
    <Location /django>
        PassengerBaseURI /django
        PassengerAppRoot $app
        PassengerMaxInstances 1
    </Location>
</VirtualHost>
END
is $h->get('/')->body, 'page', 'a page' or diag $h->log_text;
my @ws = map { WS->open($h->client(timeout => 20), '/chat') } 1 .. 40;
is scalar(grep { $_->opened } @ws), 40, 'all clients are let in' or diag $ws[0]{answer}{head};
is $h->get('/')->body, 'page', 'a page is answered beside them';
$ws[3]->text('hi');
is scalar(grep { ($_->next_frame->[1] // '') eq 'hi' } @ws), 40, 'all hear what one of them says';
$_->close for @ws;
my $ws = WS->open($h->client(timeout => 20), '/django/chat', Host => 'below');
ok $ws->opened, 'below a path, too' or diag $ws->{answer}{head};
$ws->close;
is $h->get('/django/', Host => 'below')->body, 'page', '... beside pages';
is $h->get('/')->body, 'page', 'the process goes on without them';
$h->finish;
done_testing;
