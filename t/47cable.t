# Action Cable, as Debian packages it, with its own threads and the adapter "async": many clients of one process, whose pages are answered beside
# them, as conf/APPLICATIONS.md says. It does not matter which MPM passes the bytes on (t/23upgrade.t).
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;
use WS;

plan skip_all => 'Action Cable is not there' if system('ruby -e "require %q(rails); require %q(action_cable/engine)" 2>/dev/null') != 0;
my $h = Harness->new;
my $app = $h->make_app('cable', { 'config.ru' => <<'END' });
require 'logger'
require 'rails'
require 'action_controller/railtie'
require 'action_cable/engine'
class Cable < Rails::Application
  config.root = __dir__
  config.eager_load = false
  config.secret_key_base = 'x' * 64
  config.logger = Logger.new(STDERR, level: Logger::WARN)
  config.hosts.clear
  config.action_cable.disable_request_forgery_protection = true
  config.action_cable.mount_path = '/cable'
end
class PlainController < ActionController::Base
  def show
    ActionCable.server.broadcast('news', { text: params[:text] }) if params[:text]
    render(plain: 'plain')
  end
end
module ApplicationCable
  class Connection < ActionCable::Connection::Base; end
  class Channel < ActionCable::Channel::Base; end
end
class NewsChannel < ApplicationCable::Channel
  def subscribed = stream_from('news')
  def say(data) = ActionCable.server.broadcast('news', { text: data['text'] })
end
ActionCable.server.config.cable = { 'adapter' => 'async' }
ActionCable.server.config.connection_class = -> { ApplicationCable::Connection }
Rails.application.routes.append { get '/' => 'plain#show' }
Cable.initialize!
run Cable
END
$h->start(conf => <<"END");
DocumentRoot $app/public
PassengerMaxInstances 1
END

my $clients = 48;
is $h->get('/')->body, 'plain', 'a page';
my @ws = map { WS->open($h->client(timeout => 30), '/cable', 'Sec-WebSocket-Protocol' => 'actioncable-v1-json') } 1 .. $clients;
is scalar(grep { $_->opened } @ws), $clients, 'all clients are let in' or diag $ws[0]{answer}{head};
is $ws[0]{answer}->header('Sec-WebSocket-Protocol'), 'actioncable-v1-json', '... in Action Cable\'s protocol';
$_->text('{"command":"subscribe","identifier":"{\"channel\":\"NewsChannel\"}"}') for @ws;
is scalar(grep { says($_, qr/confirm_subscription/) } @ws), $clients, '... and have subscribed';
is $h->get('/')->body, 'plain', 'a page is answered beside them';
$h->get('/?text=hello');
is scalar(grep { says($_, qr/"text":"hello"/) } @ws), $clients, 'all get what a page sends';
$ws[0]->text('{"command":"message","identifier":"{\"channel\":\"NewsChannel\"}","data":"{\"action\":\"say\",\"text\":\"hi\"}"}');
is scalar(grep { says($_, qr/"text":"hi"/) } @ws), $clients, '... and what one of them says';
$_->close for @ws;
is $h->get('/')->body, 'plain', 'the process goes on without them';
$h->finish;
done_testing;

# 1 if such a message comes, maybe after pings.
sub says {
    my ($ws, $what) = @_;
    for (1 .. 30) {
        my $frame = $ws->next_frame;
        return 0 unless defined $frame->[1];
        return 1 if $frame->[1] =~ $what;
    }
    return 0;
}
